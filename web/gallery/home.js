// The first view: make a video, and see all that there are.
import { needsKey, session, textOf } from "../core/api.js"
import { el, setText } from "../core/dom.js"
import { place, remember } from "../core/router.js"
import { rest } from "../core/sse.js"
import { MakeForm } from "../make/form.js"
import { titleOf, wordOf } from "../job/facts.js"
import { Card } from "./card.js"
import { Jobs } from "./jobs.js"

const STATUSES = ["queued", "running", "canceling", "finalizing", "succeeded", "failed", "canceled"]
const TICK = 30000
const LONGEST_WAIT = 1000 // milliseconds, for the fields of the form
const SCROLLED = 300 // milliseconds without scrolling after which the place is kept

let form = null // is kept, with what was written in it, while other views are shown
session.addEventListener("changed", () => { form = null })

export class HomeView {
  constructor() {
    const { query } = place()
    this.title = ""
    this._cards = new Map()
    this._form = form ??= new MakeForm()
    this._form.open()
    this._status = el("select", { attributes: { "aria-label": "Status" } }, el("option", { value: "", textContent: "Any status" }),
      ...STATUSES.map((value) => el("option", { value, textContent: wordOf(value) })))
    this._model = el("input", { type: "search", placeholder: "Model", attributes: { "aria-label": "Model" } })
    this._text = el("input", { type: "search", placeholder: "Search prompts", attributes: { "aria-label": "Search prompts" } })
    this._status.value = STATUSES.includes(query.get("status")) ? query.get("status") : ""
    this._model.value = query.get("model") ?? ""
    this._text.value = query.get("text") ?? ""
    this._outage = el("p", { class: "outage", hidden: true, attributes: { role: "status" }, textContent: "The list is not up to date: the connection is lost; trying again …" })
    this._failure = el("p", { class: "reason", attributes: { role: "alert" } })
    this._list = el("ul", { class: "gallery", on: { click: ({ target }) => this._keepPlace(this._cardOf(target)?.job.id) } })
    this._left = history.state?.gallery ?? null // where the viewer was before
    this._stop = new AbortController()
    addEventListener("scroll", () => {
      clearTimeout(this._scrolled)
      this._scrolled = setTimeout(() => this._keepPlace(), SCROLLED)
    }, { passive: true, signal: this._stop.signal })
    this._empty = el("p", { class: "empty", hidden: true })
    this._end = el("div", { class: "end" })
    this.element = el("div", { class: "home" },
      el("h1", { tabIndex: -1, class: "unseen", textContent: "Make and watch long videos" }), this._form.element,
      this._videos = el("section", { class: "videos", hidden: !this._form.isReady },
        el("div", { class: "filters" }, el("h2", { textContent: "Videos" }), el("span", { class: "filler" }), this._text, this._model, this._status),
        this._outage, this._failure, this._list, this._empty, this._end))
    this._status.addEventListener("change", () => this._begin())
    for (const input of [this._model, this._text]) input.addEventListener("input", () => this._show())
    this._watcher = new IntersectionObserver(([entry]) => { this._isAtEnd = entry.isIntersecting; this._fill() }, { rootMargin: "600px" })
    this._watcher.observe(this._end)
    this._timer = setInterval(() => { for (const card of this._cards.values()) card.tick() }, TICK)
    this._begin()
    if (this._videos.hidden) Promise.race([this._form.ready, rest(LONGEST_WAIT)]).then(() => this._reveal())
  }

  // The list comes when the form above it has its fields, so that it does not jump.
  _reveal() {
    this._videos.hidden = false
    this._goBack()
  }

  // The address was changed to other filters.
  move(query) {
    const [status, model, text] = ["status", "model", "text"].map((name) => query.get(name) ?? "")
    const isOther = status !== this._status.value
    this._status.value = STATUSES.includes(status) ? status : ""
    this._model.value = model
    this._text.value = text
    if (isOther) this._begin()
    else this._show()
  }

  close() {
    clearInterval(this._timer)
    clearTimeout(this._scrolled)
    this._stop.abort()
    cancelAnimationFrame(this._frame)
    this._watcher.disconnect()
    this._jobs.close()
    this._form.close()
  }

  _cardOf(element) {
    return [...this._cards.values()].find((card) => card.element.contains(element))
  }

  // With this step in the browser's history: the way back leads to the same place of the list. `id`: of the job that is
  // looked at next.
  _keepPlace(id = null) {
    if (this._left) return
    history.replaceState({ ...history.state, gallery: { scroll: scrollY, count: this._jobs.all.length, id } }, "")
  }

  _goBack() {
    if (!this._left || this._videos.hidden || (this._jobs.all.length < this._left.count && !this._jobs.isWhole)) return
    const { scroll, id } = this._left
    this._left = null
    scrollTo(0, scroll)
    const isFree = document.activeElement === document.body || document.activeElement.tagName === "H1"
    if (isFree) this._cards.get(id)?.focus()
  }

  _begin() {
    this._jobs?.close()
    this._jobs = new Jobs(this._status.value)
    this._jobs.addEventListener("change", () => this._showSoon())
    this._jobs.addEventListener("connection", () => { this._outage.hidden = this._jobs.connected })
    this._jobs.addEventListener("failure", ({ error }) => setText(this._failure, needsKey(error) ? "" : textOf(error))) // the form asks for a key
    this._jobs.more(this._left?.count)
    this._show()
  }

  // A page is read as long as its place is in sight, also where the filters let few through.
  _fill() {
    if (this._isAtEnd && this._jobs.isRead && !this._jobs.isWhole) this._jobs.more()
  }

  _showSoon() {
    setText(this._failure, "")
    this._frame ??= requestAnimationFrame(() => { this._frame = null; this._show() })
  }

  _matches(job) {
    const [text, model] = [this._text.value.trim().toLowerCase(), this._model.value.trim().toLowerCase()]
    return titleOf(job).toLowerCase().includes(text) && job.request.model.toLowerCase().includes(model)
  }

  // Cards that are there stay where they are, so that focus and moving pictures do.
  _show() {
    remember({ status: this._status.value, model: this._model.value.trim(), text: this._text.value.trim() })
    const jobs = this._jobs.all.filter((job) => this._matches(job))
    const ids = new Set(jobs.map(({ id }) => id))
    for (const [id, card] of this._cards) if (!ids.has(id)) { card.element.remove(); this._cards.delete(id) }
    jobs.forEach((job, index) => {
      const card = this._cards.get(job.id)
      if (!card) this._cards.set(job.id, new Card(job))
      else if (card.job !== job) card.update(job)
      const { element } = this._cards.get(job.id)
      if (this._list.children[index] !== element) this._list.insertBefore(element, this._list.children[index] ?? null)
    })
    this._empty.hidden = jobs.length > 0 || !this._jobs.isWhole
    const isFiltered = this._status.value || this._jobs.all.length
    setText(this._empty, isFiltered ? "No video fits these filters." : "No videos yet. Describe one above.")
    this._goBack()
    this._fill()
  }
}
