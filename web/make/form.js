// Makes a job: the form, what it will cost, and what is wrong with it, said where it is.
import { isPassing, needsKey, Problem, post, textOf, withFix } from "../core/api.js"
import { button, el, setText } from "../core/dom.js"
import { about, duration, named, plural, rate } from "../core/format.js"
import { enterKey } from "../core/header.js"
import { go, jobAddress } from "../core/router.js"
import { models, noWorker } from "../job/models.js"
import { draft, keepDraft, putValues, valuesOf } from "./draft.js"
import { choiceField, Field, numberField } from "./fields.js"
import { LengthField } from "./length_field.js"
import { mediaField } from "./media_field.js"
import { advancedFields, bodyOf, inputFields, isIncomplete } from "./model_fields.js"
import { Schedule } from "./schedule.js"
import { Words } from "./words.js"

const ASK_AFTER = 450 // milliseconds after the last change
const AGAIN = 5000 // after an outage

export class MakeForm {
  constructor() {
    this._models = []
    this._inputFields = []
    this._advancedFields = []
    this._mediaFields = new Map() // by name: with their files they stay when another model is chosen
    this._values = {} // of fields, by name, also of those that the model does not have
    this.isReady = false
    this.ready = new Promise((done) => { this._isReady = () => { this.isReady = true; done() } })
    this._changed = () => { this._key = null; this._keep(); this._askSoon() } // what is sent next is another request
    this._prompt = new Field("prompt", "What the video shows", el("textarea", { rows: 2, maxLength: 4000, placeholder: "Describe one long shot", attributes: { dir: "auto" } }), { wide: true })
    this._prompt.names = (field) => ["prompt", "prompts", "prompts[0].text"].includes(field)
    this._words = new Words(this._prompt.control)
    this._schedule = new Schedule(this._changed)
    this._length = new LengthField(this._changed)
    this._seed = numberField("seed", "Seed", { placeholder: "random", min: 0, step: 1 })
    this._examples = el("div", { class: "examples row" })
    this._inputs = el("div", { class: "fields inputs" })
    this._inputsBox = el("details", {}, el("summary", { textContent: "Picture or video to start from" }), this._inputs)
    this._advanced = el("div", { class: "fields" })
    this._modelPlace = el("div", { class: "model-place" })
    this._failure = el("p", { class: "reason", attributes: { role: "alert" } })
    this._enter = Object.assign(enterKey(), { hidden: true })
    this._estimate = el("p", { class: "estimate", attributes: { role: "status" } })
    this._warnings = el("ul", { class: "warnings" })
    this._submit = el("button", { class: "primary", textContent: "Make the video" })
    this.element = el("form", { class: "card make", noValidate: true, attributes: { "aria-label": "Make a video" } },
      this._prompt.element, this._words.element, this._examples, this._schedule.element,
      el("div", { class: "fields" }, this._modelPlace, this._length.element, this._seed.element),
      this._inputsBox,
      el("details", {}, el("summary", { textContent: "More settings" }), this._advanced),
      this._failure, this._enter, this._warnings,
      el("div", { class: "row" }, this._submit, this._estimate))
    this.element.addEventListener("submit", (event) => { event.preventDefault(); this._make() })
    this.element.addEventListener("input", this._changed)
    this.element.addEventListener("change", this._changed)
    this._prompt.control.addEventListener("keydown", (event) => {
      if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) this.element.requestSubmit()
    })
  }

  // What was written stays when the viewer has looked at a video in between.
  open() {
    this._isOpen = true
    if (this._models.length === 0) this._load()
    else this._askSoon()
  }

  close() {
    this._isOpen = false
    clearTimeout(this._timer)
    clearTimeout(this._later)
    this._asking?.abort()
  }

  async _load() {
    try {
      this._models = (await models()).filter(({ installed }) => installed)
    } catch (error) {
      setText(this._failure, textOf(error))
      this._isReady()
      if (needsKey(error)) this._close()
      else if (this._isOpen) this._later = setTimeout(() => this._load(), AGAIN)
      return
    }
    setText(this._failure, "")
    const { prompt = "", model: last, length, values = {} } = draft()
    const names = this._models.map(({ name, workers }) => [name, workers.ready ? name : `${name} (no worker)`])
    this._modelField = choiceField("model", "Model", names)
    this._modelField.control.addEventListener("change", () => this._use())
    this._modelPlace.replaceChildren(this._modelField.element)
    const first = this._models.find(({ name }) => name === last) ?? this._models.find(({ workers }) => workers.ready) ?? this._models[0]
    this._modelField.control.value = first?.name ?? ""
    this._prompt.control.value ||= prompt
    this._values = values
    if (length) this._length.put(length)
    putValues([this._seed], values)
    this._use()
    this._isReady()
  }

  // Nothing can be made without a key; with one there is a new form.
  _close() {
    for (const control of this.element.querySelectorAll("input, select, textarea, button")) control.disabled = control !== this._enter
    this._enter.hidden = false
  }

  _keep() {
    if (!this._model) return
    Object.assign(this._values, valuesOf([this._seed, ...this._inputFields, ...this._advancedFields]))
    keepDraft({ prompt: this._prompt.control.value, model: this._model.name, length: this._length.written, values: this._values })
  }

  _mediaField(name, label, kind) {
    if (!this._mediaFields.has(name)) this._mediaFields.set(name, mediaField(name, label, kind, this._changed))
    const field = this._mediaFields.get(name)
    field.label = label
    return field
  }

  _use() {
    const model = this._model
    if (!model) return
    this._modelField.hint = model.description
    this._length.use(model)
    this._inputFields = inputFields(model, (...field) => this._mediaField(...field))
    this._advancedFields = advancedFields(model)
    putValues([...this._inputFields, ...this._advancedFields], this._values)
    this._inputsBox.hidden = this._inputFields.length === 0
    this._inputsBox.open ||= model.capabilities.needs_input
    this._inputs.replaceChildren(...this._inputFields.map(({ element }) => element))
    this._advanced.replaceChildren(...this._advancedFields.map(({ element }) => element))
    this._examples.replaceChildren(...model.example_prompts.slice(0, 4).map((text) => button(text, () => {
      this._prompt.control.value = text
      this._changed()
    }, { class: "example" })))
    this._prompt.element.hidden = model.capabilities.prompt === "no"
    this._words.use(model.known_words)
    this._schedule.allowed = model.capabilities.prompt_changes && model.capabilities.prompt !== "no"
    this._askSoon()
  }

  get _model() {
    return this._models.find(({ name }) => name === this._modelField?.control.value)
  }

  get _fields() {
    return [this._prompt, this._modelField, this._seed, ...this._inputFields, ...this._advancedFields]
  }

  get _all() {
    return [this._length, ...this._schedule.fields, ...(this._model ? this._fields : [this._prompt])]
  }

  // A field of which the page itself knows that it is wrong.
  get _unclear() {
    return this._all.find((field) => field.problem())
  }

  _body() {
    const body = { ...bodyOf(this._fields), ...this._length.body() }
    const prompts = this._schedule.prompts(body.prompt, rate(body.fps ?? this._model.defaults.fps))
    if (!prompts) return body
    const { prompt: _, ...rest } = body
    return { ...rest, prompts }
  }

  _askSoon() {
    clearTimeout(this._timer)
    this._timer = setTimeout(() => this._ask(), ASK_AFTER)
  }

  // Asks what the job would be. What is not whole is not asked about: nobody has done anything wrong yet.
  async _ask() {
    this._asking?.abort()
    if (this._unclear || !this._model || this._schedule.isIncomplete || isIncomplete(this._model, this._body())) {
      this._tell(null)
      return
    }
    const asking = this._asking = new AbortController()
    try {
      this._tell(await post("jobs?dry_run=true", this._body(), { signal: asking.signal }))
    } catch (error) {
      if (asking.signal.aborted) return
      this._show(error)
      this._askAgain(error)
    }
  }

  // What was said of an outage goes when it is over.
  _askAgain(error) {
    if (isPassing(error) && this._isOpen) this._timer = setTimeout(() => this._ask(), AGAIN)
  }

  // `plan`: the answer to a dry run; null: nothing is known, and nothing wrong.
  _tell(plan) {
    this._show(null)
    setText(this._estimate, plan ? estimateOf(plan) : "")
    const texts = plan?.warnings.map(({ message }) => named(message)) ?? []
    if (this._model && !this._model.workers.ready) texts.unshift(noWorker(this._model.name))
    this._warnings.replaceChildren(...texts.map((text) => el("li", { textContent: text })))
  }

  // What is wrong, at its field; what has none, above the button. Returns the first field that is wrong.
  _show(error) {
    const wrong = new Map()
    let other = error && !(error instanceof Problem) ? textOf(error) : ""
    const all = this._all
    for (const { field, detail, fix } of error instanceof Problem ? error.errors : []) {
      const text = withFix(detail ?? error.message, fix)
      const at = all.find((one) => one.names?.(field) ?? field === one.name)
      if (at) wrong.set(at, wrong.has(at) ? `${wrong.get(at)}. ${text}` : text)
      else other = other ? `${other} ${text}` : text
    }
    for (const one of all) {
      const text = one.problem() || wrong.get(one) || ""
      one.fail(text)
      wrong.set(one, text)
    }
    setText(this._failure, other)
    if (error) setText(this._estimate, "")
    return all.find((one) => wrong.get(one))
  }

  async _make() {
    clearTimeout(this._timer)
    this._asking?.abort()
    if (this._submit.disabled) return
    if (this._unclear) {
      lead(this._show(null))
      return
    }
    this._submit.disabled = true
    try {
      const job = await post("jobs", this._body(), { headers: { "Idempotency-Key": this._key ??= randomName() } })
      this._key = null
      go(jobAddress(job.id))
    } catch (error) {
      if (error instanceof Problem) this._key = null // refused
      lead(this._show(error))
      this._askAgain(error)
    } finally {
      this._submit.disabled = false
    }
  }
}

// To the field that is wrong, also where it is folded away.
function lead(field) {
  const control = field?.element.querySelector("input, select, textarea")
  if (control?.closest("details")) control.closest("details").open = true
  control?.focus()
}

function randomName() {
  return [...crypto.getRandomValues(new Uint8Array(16))].map((byte) => byte.toString(16).padStart(2, "0")).join("")
}

function estimateOf({ num_chunks: chunks, request, estimate }) {
  const { num_frames: frames, fps } = request
  const isEndless = frames === null || frames === undefined
  const length = isEndless ? "Video without end." : `${duration(frames / rate(fps))} of video in ${plural(chunks, "chunk")}.`
  if (!estimate) return length
  const { seconds_total: total, seconds_per_chunk: each } = estimate
  return total === null ? `${length} Each chunk takes ${about(each)} to make.` : `${length} It takes ${about(total)} to make.`
}
