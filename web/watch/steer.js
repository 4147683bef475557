// Steering a job while it is made, and what can be done with it afterwards.
import { patch, post, remove, textOf } from "../core/api.js"
import { button, el, setText } from "../core/dom.js"
import { duration } from "../core/format.js"
import { go, jobAddress } from "../core/router.js"
import { note, say } from "../core/say.js"
import { CHUNK_FRAMES, chunkAt, END_OF_SENTENCES, fpsOf, frameSeconds, hasEnded, secondsMade } from "../job/facts.js"
import { capabilitiesOf } from "../job/models.js"
import { checkField, choiceField, Field, numberField } from "../make/fields.js"
import { Act } from "./acts.js"

const UNDO = 7000
const NEARLY = 0.05 // seconds: a playhead that is nearer to the end than this is there
const BEFORE_A_BRANCH = 1 // seconds that are seen of what both have
const MORE = 4 // seconds by which a video is made longer where nobody says how many
const NOTHING = { prompt_changes: false, endless: false, reseeds: false }

const promptField = (label, hint = "") =>
  new Field("prompt", label, el("textarea", { rows: 2, maxLength: 4000, attributes: { dir: "auto" } }), { hint })

export class Steer {
  // `followed`: a FollowedJob; `placeOf()`: seconds at which the viewer is.
  constructor(followed, placeOf) {
    this._followed = followed
    this._placeOf = placeOf
    this._can = NOTHING
    this._change = new Act("Change the prompt", {
      text: "Change it", fields: [promptField("From here on it shows"),
        numberField("from_frame", "From second", { min: 0, hint: `Empty: from the next chunk that no worker has begun. ${this._rate}` })],
      run: (values) => this._changePrompt(values),
    })
    this._offer = button("Use it in “Make it longer”", () => this._offerText())
    this._endless = checkField("endless", "Without end")
    this._end = new Act("Change the end", {
      text: "Change it", fields: [numberField("num_frames", "Ends at second", { min: 0.1, hint: this._rate }), this._endless],
      run: (values) => this._changeEnd(values),
    })
    this._level = choiceField("priority", "Priority", ["low", "normal", "high"])
    this._priority = new Act("Change the priority", {
      text: "Change it", fields: [this._level],
      run: async ({ priority }) => this._take(await patch(this._path, { priority })),
    })
    this._extend = new Act("Make it longer", {
      text: "Add them", fields: [numberField("num_frames", "Seconds more", { min: 0.1, placeholder: String(MORE) }), promptField("What they show", "Empty: as before.")],
      run: (values) => this._extendBy(values),
    })
    this._seed = checkField("seed", "Another seed from there on")
    this._from = el("p", { class: "hint" })
    this._branch = new Act("Branch from the playhead", {
      text: "Make a branch", hint: this._from, fields: [promptField("What it shows from there on", "Empty: as here."), this._seed],
      run: (values) => this._branchOff(values),
    })
    this._cancel = button("Stop and keep what is made", () => this._ask("cancel", this._cancel))
    this._retry = button("Try again", () => this._ask("retry", this._retry))
    this._delete = button("Delete", () => this._deleteLater(), { class: "danger" })
    this._failure = el("p", { class: "field-error", attributes: { role: "alert" } })
    this.element = el("section", { class: "steer", tabIndex: -1, attributes: { "aria-label": "Steer" } },
      this._change.element, this._end.element, this._priority.element, this._extend.element, this._branch.element,
      el("div", { class: "row" }, this._cancel, this._retry, this._delete), this._failure)
    this._learn()
  }

  get _job() {
    return this._followed.job
  }

  get _path() {
    return this._followed.path
  }

  async _learn() {
    this._can = await capabilitiesOf(this._job.request.model).catch(() => NOTHING)
    this.update()
  }

  update() {
    const job = this._job
    const ended = hasEnded(job)
    const isOver = ended || job.status === "canceling"
    const isEmpty = job.progress.frames_done === 0
    const canGoOn = this._can.endless && ["succeeded", "canceled"].includes(job.status) && !isEmpty
    this._extend.hidden = !canGoOn
    this._show(this._change, { isOver, can: this._can.prompt_changes, offer: canGoOn ? this._offer : null })
    this._show(this._end, { isOver, can: this._can.endless })
    this._priority.hidden = ended
    if (!this._priority.element.open) this._level.control.value = job.request.priority
    this._branch.hidden = job.progress.frames_done < CHUNK_FRAMES
    this._seed.element.hidden = !this._can.reseeds
    setText(this._from, `From ${duration(frameSeconds(job, this._branchChunk * CHUNK_FRAMES))}, where a chunk begins: what is before is in both.`)
    this._cancel.hidden = isOver
    setText(this._cancel, isEmpty ? "Cancel" : "Stop and keep what is made")
    this._retry.hidden = !["failed", "canceled"].includes(job.status)
    setText(this._retry, job.status === "canceled" && !isEmpty ? "Go on" : "Try again")
  }

  // What somebody is writing stays when it comes too late.
  _show(act, { isOver, can, offer = null }) {
    act.hidden = !can || (isOver && !act.isBegun)
    act.allow(!isOver, END_OF_SENTENCES[this._job.status] ?? "The video is being stopped.", act.isBegun ? offer : null)
  }

  _offerText() {
    const prompt = this._change.values.prompt ?? ""
    this._change.clear()
    this._extend.fill({ prompt })
    this.update()
  }

  // The chunk with which a branch begins: that of the playhead, or, where all is made and seen, the one after the last.
  get _branchChunk() {
    const job = this._job
    const whole = Math.floor(job.progress.frames_done / CHUNK_FRAMES)
    const at = this._placeOf()
    const isAtEnd = hasEnded(job) && at > secondsMade(job) - NEARLY
    return Math.max(1, Math.min(whole, isAtEnd ? whole : chunkAt(job, at)))
  }

  _take(job) {
    this._followed.take(job)
    return job
  }

  // The API counts frames, also where it says what is wrong.
  get _rate() {
    return `A second has ${this._job.request.fps} frames.`
  }

  async _changePrompt({ prompt, from_frame: seconds }) {
    const from = seconds === undefined ? {} : { from_frame: Math.round(seconds * fpsOf(this._job)) }
    const { acts_from_frame: frame } = this._take(await patch(this._path, { prompt: prompt ?? "", ...from }))
    note(frame === null ? "Nothing changes: it shows that already." : `The new prompt acts from ${duration(frameSeconds(this._job, frame))}.`)
  }

  async _changeEnd({ num_frames: seconds, endless }) {
    const end = endless ? { num_frames: null } : seconds === undefined ? {} : { num_frames: Math.round(seconds * fpsOf(this._job)) }
    const { progress } = this._take(await patch(this._path, end))
    this._endless.control.checked = false
    note(progress.frames_total === null ? "The video goes on until it is stopped." : `The video ends at ${duration(frameSeconds(this._job, progress.frames_total))}.`)
  }

  async _extendBy({ num_frames: seconds = MORE, prompt }) {
    const frames = Math.max(1, Math.round(seconds * fpsOf(this._job)))
    this._take(await post(`${this._path}/extend`, { num_frames: frames, ...(prompt && { prompt }) }))
    say("The video goes on.")
  }

  async _branchOff({ prompt, seed }) {
    const job = this._job
    const from = this._branchChunk
    const shared = from * CHUNK_FRAMES
    const begin = frameSeconds(job, shared)
    const length = job.request.num_frames
    const longer = length !== null && length <= shared ? { num_frames: shared + Math.round(MORE * fpsOf(job)) } : {}
    const other = seed ? { seed: crypto.getRandomValues(new Uint32Array(1))[0] } : {}
    const made = await post(`${this._path}/branch`, { from_chunk: from, ...(prompt && { prompt }), ...other, ...longer })
    note(`A branch from ${duration(begin)}.`)
    go(jobAddress(made.id, `t=${Math.max(0, begin - BEFORE_A_BRANCH).toFixed(1)}`))
  }

  // `control` is closed until there is an answer, so that a double click asks once.
  async _ask(what, control) {
    setText(this._failure, "")
    const hadFocus = document.activeElement === control
    control.disabled = true
    try {
      this._take(await post(`${this._path}/${what}`))
    } catch (error) {
      setText(this._failure, textOf(error))
    } finally {
      control.disabled = false
    }
    if (hadFocus) (control.hidden ? this.element : control).focus()
  }

  // Deleted is what nobody takes back: so it is asked for only when the time to do so is over.
  _deleteLater() {
    const path = this._path
    const address = jobAddress(this._job.id)
    const leave = new AbortController()
    const run = () => {
      leave.abort()
      remove(path).catch((error) => note(`It could not be deleted: ${textOf(error)}`, { bad: true }))
    }
    addEventListener("pagehide", run, { signal: leave.signal })
    go("#/")
    note("The video will be deleted.", { act: { text: "Undo", run: () => { leave.abort(); go(address) } }, after: run, milliseconds: UNDO })
  }
}
