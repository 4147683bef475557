// A field that takes a picture or a video: dropped, chosen, or by its address. Files are sent at once, to the object
// storage itself.
import { post, textOf } from "../core/api.js"
import { button, el, setText } from "../core/dom.js"
import { bytes } from "../core/format.js"
import { Field } from "./fields.js"

// `kind`: "image" or "video". `changed()` is called when there is another value.
export function mediaField(name, label, kind, changed) {
  const file = el("input", { type: "file", accept: `${kind}/*`, class: "unseen", tabIndex: -1, attributes: { "aria-label": `${label}: file` } })
  const address = el("input", { type: "text", placeholder: "drop a file here, or an address: https://…", autocomplete: "off" })
  const bar = el("progress", { hidden: true, max: 1, attributes: { "aria-label": `Sending the ${kind}` } })
  const told = el("span", { class: "hint", attributes: { role: "status" } })
  const field = new Field(name, label, address, { wide: true, read: () => upload ?? (address.value.trim() || undefined) })
  let upload = null
  let sending = null

  async function take(chosen) {
    sending?.abort()
    upload = null
    field.fail("")
    bar.hidden = false
    bar.value = 0
    setText(told, `${chosen.name}, ${bytes(chosen.size)}`)
    try {
      const target = await post("uploads", { content_type: chosen.type || "application/octet-stream", size_bytes: chosen.size })
      await put(target, chosen)
      upload = target.id
      address.value = ""
      address.placeholder = chosen.name
    } catch (error) {
      field.fail(error.isAbort ? "" : error.sent ?? textOf(error))
    }
    bar.hidden = true
    changed()
  }

  function put(target, chosen) {
    return new Promise((done, failed) => {
      const request = sending = new XMLHttpRequest()
      request.open(target.method, target.url)
      request.setRequestHeader("Content-Type", target.headers["content-type"])
      request.upload.onprogress = ({ loaded, total }) => { bar.value = loaded / total }
      request.onload = () => (request.status < 300 ? done() : failed({ sent: `The storage refused the file (${request.status}).` }))
      request.onerror = () => failed({ sent: "The file cannot be sent to the storage." })
      request.onabort = () => failed({ isAbort: true })
      request.send(chosen)
    })
  }

  function clear() {
    sending?.abort()
    upload = null
    address.value = ""
    address.placeholder = "drop a file here, or an address: https://…"
    setText(told, "")
    field.fail("")
    changed()
  }

  file.addEventListener("change", () => { if (file.files[0]) take(file.files[0]); file.value = "" })
  address.addEventListener("input", () => { upload = null })
  const row = el("div", { class: "row" }, button("Choose a file", () => file.click()), button("Clear", clear), bar, told, file)
  field.element.append(row)
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
