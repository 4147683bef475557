// The right end of the header: workers and queue at a glance, light or dark, and the key where keys are used.
import { glance } from "../status/glance.js"
import { key, session, setKey } from "./api.js"
import { button, el, iconButton, setAttribute, setText } from "./dom.js"
import { KEY, SUN } from "./icons.js"

const LOOK_EACH = 10000
const THEMES = ["light", "dark"]

export class Header {
  constructor() {
    this._service = el("a", { class: "service", href: "#/status" }) // no live region: nobody wants each change told
    this._key = iconButton(KEY, "API key", () => this._login.showModal())
    this._key.hidden = !key()
    this._login = loginDialog()
    this.element = el("div", { class: "tools" }, this._service, this._key,
      iconButton(SUN, "Light or dark", () => this._switchTheme()), this._login)
    setTheme(localStorage.getItem("longtake-theme"))
    session.addEventListener("asked", () => this._ask())
    session.addEventListener("refused", () => { this._key.hidden = false; this._ask() })
    this._look()
    setInterval(() => { if (!document.hidden) this._look() }, LOOK_EACH)
  }

  _ask() {
    setText(this._login.querySelector(".field-error"), key() ? "The service does not accept this key: it is wrong, expired or revoked." : "")
    if (!this._login.open) this._login.showModal()
  }

  async _look() {
    try {
      const { state, text } = await glance()
      this._tell(state, text)
    } catch {
      this._tell("away", "The server cannot be reached")
    }
  }

  _tell(state, text) {
    setAttribute(this._service, "data-state", state)
    setText(this._service, text)
  }

  _switchTheme() {
    const isDark = matchMedia("(prefers-color-scheme: dark)").matches
    const now = document.documentElement.dataset.theme ?? (isDark ? "dark" : "light")
    const next = now === "dark" ? "light" : "dark"
    localStorage.setItem("longtake-theme", next)
    setTheme(next)
  }
}

// Leads to the dialog that asks for a key.
export const enterKey = () => button("Enter a key", () => session.dispatchEvent(new Event("asked")))

function setTheme(name) {
  if (THEMES.includes(name)) document.documentElement.dataset.theme = name
  document.dispatchEvent(new Event("theme"))
}

function loginDialog() {
  const input = el("input", { type: "password", name: "key", required: true, autocomplete: "off", id: "key", pattern: "\\s*[!-~]+\\s*", title: "letters, digits and signs, no spaces", attributes: { "aria-describedby": "key-error" } })
  const form = el("form", { method: "dialog" },
    el("h2", { textContent: "API key" }),
    el("p", { textContent: "This service asks for a key. It is kept until you close this tab." }),
    el("label", { htmlFor: "key", textContent: "Key" }), input,
    el("p", { class: "field-error", id: "key-error", attributes: { role: "alert" } }),
    el("div", { class: "row" }, el("button", { textContent: "Use this key", class: "primary" }),
      button("Forget the key", () => { setKey(null); dialog.close() }), button("Close", () => dialog.close())))
  const dialog = el("dialog", { attributes: { "aria-label": "API key" } }, form)
  form.addEventListener("submit", () => {
    setKey(input.value.trim())
    form.reset()
  })
  return dialog
}
