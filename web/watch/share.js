// Taking a video elsewhere: files, links, and the requests that make the same.
import { button, el, setAttribute, setText } from "../core/dom.js"
import { note } from "../core/say.js"
import { hasEnded } from "../job/facts.js"
import { fileUrl, playlistUrl } from "../job/media.js"
import { curlOf, pythonOf } from "./snippets.js"

export class Share {
  // `keepPlace()`: puts the place that is shown now into the address.
  constructor(jobOf, keepPlace) {
    this._jobOf = jobOf
    this._file = el("a", { class: "button", textContent: "Download MP4", attributes: { download: "" } })
    this._refined = el("a", { class: "button", textContent: "Download refined", attributes: { download: "" } })
    this._playlist = button("Copy playlist", () => copy(playlistUrl(this._jobOf(), "preview")))
    const code = el("pre", { tabIndex: 0 }, el("code"))
    const show = (name, make) => button(name, () => { setText(code.firstChild, make(this._jobOf())); code.hidden = false; copy(code.textContent, "select the text") })
    code.hidden = true
    this.element = el("section", { class: "share" },
      el("div", { class: "row" }, this._file, this._refined,
        button("Copy link", () => { keepPlace(); copy(location.href) }), this._playlist),
      el("details", { class: "act" }, el("summary", { textContent: "Make the same elsewhere" }),
        el("div", { class: "row" }, show("curl", curlOf), show("Python", pythonOf)), code))
  }

  update() {
    const job = this._jobOf()
    const isThere = job.status === "succeeded" || (job.status === "canceled" && job.progress.chunks_done > 0)
    this._file.hidden = !isThere
    this._refined.hidden = !(isThere && hasEnded(job) && job.progress.chunks_refined)
    this._playlist.hidden = hasEnded(job) && job.progress.chunks_done === 0
    if (isThere) {
      setAttribute(this._file, "href", fileUrl(job, "preview"))
      setAttribute(this._refined, "href", fileUrl(job, "refined"))
    }
  }
}

// `otherwise`: what to do where it cannot be copied.
async function copy(text, otherwise = text) {
  if (await isCopied(text)) note("Copied.", { milliseconds: 2000 })
  else note(`This browser cannot copy here: ${otherwise}`, { milliseconds: 20000 })
}

// The clipboard of browsers opens to pages of HTTPS and of this machine only; elsewhere the old way works.
async function isCopied(text) {
  try {
    await navigator.clipboard.writeText(text)
    return true
  } catch {
    const focused = document.activeElement
    const box = el("textarea", { value: text, class: "unseen" })
    document.body.append(box)
    box.select()
    const isDone = document.execCommand("copy")
    box.remove()
    focused.focus()
    return isDone
  }
}
