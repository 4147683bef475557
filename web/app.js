// Begins the page: the header, and the view that the address names.
import { el } from "./core/dom.js"
import { place } from "./core/router.js"
import { Header } from "./core/header.js"
import { session } from "./core/api.js"
import { HomeView } from "./gallery/home.js"
import { StatusView } from "./status/view.js"
import { WatchView } from "./watch/view.js"

history.scrollRestoration = "manual" // a view is built anew, and knows best when it can be scrolled
const main = document.querySelector("main")
let view = null
let shown = null // the path of the view, without what it remembers of itself

function viewOf({ parts }) {
  if (parts.length === 2 && parts[0] === "jobs") return new WatchView(parts[1])
  if (parts.length === 1 && parts[0] === "status") return new StatusView()
  if (parts.length === 0) return new HomeView()
  return { element: el("div", {}, el("h1", { tabIndex: -1, textContent: "There is nothing here" }),
    el("p", {}, el("a", { href: "#/", textContent: "To all videos" }))), title: "Not found", close() {} }
}

function open(again = false) {
  const there = place()
  const path = there.parts.join("/")
  if (path === shown && !again) {
    view.move?.(there.query)
    return
  }
  const isFirst = shown === null
  shown = path
  view?.close()
  view = viewOf(there)
  document.title = view.title ? `${view.title} · Longtake` : "Longtake"
  main.replaceChildren(view.element)
  scrollTo(0, 0)
  const undo = document.querySelector("#notes button") // is there for seconds only
  if (!isFirst) (undo ?? view.element.querySelector("h1"))?.focus()
}

document.querySelector(".skip").addEventListener("click", (event) => {
  event.preventDefault() // the part after # names the view
  main.focus()
})
// A file that misses its field must not replace the page.
for (const name of ["dragover", "drop"]) {
  addEventListener(name, (event) => { if (event.dataTransfer?.types.includes("Files")) event.preventDefault() })
}
document.querySelector("header").append(new Header().element)
addEventListener("hashchange", () => open())
session.addEventListener("changed", () => open(true))
open()
