// What a reader is told beside what changes before their eyes: a live region, and short notes that go away again.
import { button, el } from "./dom.js"

const region = () => document.querySelector("#announcements")
const notes = () => document.querySelector("#notes")
const SHOWN = 6000

// Read out by screen readers when they have a pause.
export function say(text) {
  region().textContent = text
}

// A note at the edge of the page. `act`: {text, run}, a button that ends the note; `after` runs if it was not pressed.
export function note(text, { act = null, after = null, bad = false, milliseconds = SHOWN } = {}) {
  let timer = null
  const close = () => {
    clearTimeout(timer)
    const hadFocus = box.contains(document.activeElement)
    box.remove()
    if (hadFocus) document.querySelector("main h1")?.focus()
  }
  const box = el("div", { class: bad ? "note bad" : "note" }, el("span", { textContent: text }))
  if (act) box.append(button(act.text, () => { close(); act.run() }))
  notes().append(box)
  timer = setTimeout(() => { close(); after?.() }, milliseconds)
  return close
}
