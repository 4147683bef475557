// Taking a video elsewhere: files, links, and the requests that make the same.
import { button, el, setText } from "../core/dom.js"
import { note } from "../core/say.js"
import { hasEnded } from "../job/facts.js"
import { fileUrl, playlistUrl } from "../job/media.js"
import { curlOf, pythonOf } from "./snippets.js"

export class Share {
  constructor(jobOf) {
    this._jobOf = jobOf
    this._file = el("a", { class: "button", textContent: "Download MP4", attributes: { download: "" } })
    this._refined = el("a", { class: "button", textContent: "Download refined", attributes: { download: "" } })
    const code = el("pre", { tabIndex: 0 }, el("code"))
    const show = (name, make) => button(name, () => { setText(code.firstChild, make(this._jobOf())); code.hidden = false; copy(code.textContent) })
    code.hidden = true
    this.element = el("section", { class: "share" },
      el("div", { class: "row" }, this._file, this._refined,
        button("Copy link", () => copy(location.href)), button("Copy playlist", () => copy(playlistUrl(this._jobOf(), "preview")))),
      el("details", { class: "act" }, el("summary", { textContent: "Make the same elsewhere" }),
        el("div", { class: "row" }, show("curl", curlOf), show("Python", pythonOf)), code))
  }

  update() {
    const job = this._jobOf()
    const isThere = job.status === "succeeded" || (job.status === "canceled" && job.progress.chunks_done > 0)
    this._file.hidden = !isThere
    this._refined.hidden = !(isThere && hasEnded(job) && job.progress.chunks_refined)
    if (isThere) {
      this._file.href = fileUrl(job, "preview")
      this._refined.href = fileUrl(job, "refined")
    }
  }
}

// The clipboard of browsers opens to pages of HTTPS and of this machine only; elsewhere the old way works.
async function copy(text) {
  try {
    await navigator.clipboard.writeText(text)
  } catch {
    const box = el("textarea", { value: text, class: "unseen" })
    document.body.append(box)
    box.select()
    document.execCommand("copy")
    box.remove()
  }
  note("Copied.", { milliseconds: 2000 })
}
