// A field that takes a picture or a video: dropped, chosen, or by its address. Files are sent at once, to the object
// storage itself.
import { post, textOf } from "../core/api.js"
import { button, el, setText } from "../core/dom.js"
import { bytes } from "../core/format.js"
import { Field } from "./fields.js"

const EMPTY = "drop a file here, or an address: https://…"

// `kind`: "image" or "video". `changed()` is called when there is another value.
export function mediaField(name, label, kind, changed) {
  const file = el("input", { type: "file", accept: `${kind}/*`, class: "unseen", tabIndex: -1, attributes: { "aria-label": `${label}: file` } })
  const address = el("input", { type: "text", placeholder: EMPTY, autocomplete: "off" })
  const bar = el("progress", { hidden: true, max: 1, attributes: { "aria-label": `Sending the ${kind}` } })
  const told = el("span", { class: "hint", attributes: { role: "status" } })
  const problem = () => (sending ? "The file is still being sent" : wrong)
  const field = new Field(name, label, address, { wide: true, problem, read: () => upload ?? (address.value.trim() || undefined) })
  let upload = null
  let sending = null // stops what is on its way; a file that was chosen later has another one
  let wrong = "" // why the file that was chosen is not there

  async function take(chosen) {
    forget()
    if (chosen.type && !chosen.type.startsWith(`${kind}/`)) {
      wrong = `${chosen.name} was not sent. It is no ${kind === "image" ? "picture" : "video"}.`
      field.fail(wrong)
      changed()
      return
    }
    const mine = sending = new AbortController()
    bar.hidden = false
    bar.value = 0
    setText(told, `${chosen.name}, ${bytes(chosen.size)}`)
    try {
      const content = { content_type: chosen.type || "application/octet-stream", size_bytes: chosen.size }
      const target = await post("uploads", content, { signal: mine.signal })
      await put(target, chosen, mine.signal)
      if (mine !== sending) return
      upload = target.id
      address.value = ""
      address.placeholder = chosen.name
    } catch (error) {
      if (mine !== sending) return
      wrong = `${chosen.name} was not sent. ${error.sent ?? textOf(error)}`
      setText(told, "")
    }
    sending = null
    bar.hidden = true
    field.fail(wrong)
    changed()
  }

  function put(target, chosen, signal) {
    return new Promise((done, failed) => {
      const request = new XMLHttpRequest()
      signal.addEventListener("abort", () => request.abort())
      request.open(target.method, target.url)
      request.setRequestHeader("Content-Type", target.headers["content-type"])
      request.upload.onprogress = ({ loaded, total }) => { if (total) bar.value = loaded / total }
      request.onload = () => (request.status < 300 ? done() : failed({ sent: `The storage refused the file (${request.status}).` }))
      request.onerror = () => failed({ sent: "The file cannot be sent to the storage." })
      request.onabort = () => failed({})
      request.send(chosen)
    })
  }

  // Whatever was chosen before is not meant any more.
  function forget() {
    sending?.abort()
    sending = null
    upload = null
    wrong = ""
    bar.hidden = true
    address.placeholder = EMPTY
    setText(told, "")
    field.fail("")
  }

  function clear() {
    forget()
    address.value = ""
    changed()
  }

  file.addEventListener("change", () => { if (file.files[0]) take(file.files[0]); file.value = "" })
  address.addEventListener("input", forget)
  const row = el("div", { class: "row" }, button("Choose a file", () => file.click()), button("Clear", clear), bar, told, file)
  field.element.append(row)
  field.isMedia = true
  field.element.classList.add("drop")
  field.element.addEventListener("dragover", (event) => { event.preventDefault(); field.element.classList.add("over") })
  field.element.addEventListener("dragleave", () => field.element.classList.remove("over"))
  field.element.addEventListener("drop", (event) => {
    event.preventDefault()
    field.element.classList.remove("over")
    if (event.dataTransfer.files[0]) take(event.dataTransfer.files[0])
  })
  return field
}
