// The words that a model knows, where they are few: completions while a prompt is written, and all of them to look at.
import { button, el, setText } from "../core/dom.js"

const MOST_SUGGESTED = 8
const LAST_WORD = /[\p{L}\p{N}][\p{L}\p{N}\p{M}'’]*$/u // one that is being written, before the cursor

export class Words {
  // `control`: the prompt's textarea. It gets an "input" event when a word is put in.
  constructor(control) {
    this._control = control
    this._words = []
    this._suggested = el("div", { class: "row words", attributes: { role: "group", "aria-label": "Words that go on so" } })
    this._all = el("div", { class: "row words" })
    this._summary = el("summary")
    this._folded = el("details", {}, this._summary, this._all)
    this.element = el("div", { class: "vocabulary", hidden: true }, this._suggested, this._folded)
    for (const name of ["input", "click", "keyup"]) control.addEventListener(name, () => this._suggest())
  }

  // Words that the model knows; none: any, or nobody can tell.
  use(words) {
    this._words = words
    this.element.hidden = words.length === 0
    setText(this._summary, `The ${words.length} words that the model knows`)
    this._all.replaceChildren(...words.map((word) => this._chip(word)))
    this._suggest()
  }

  _suggest() {
    const { value, selectionEnd } = this._control
    const words = completions(value.slice(0, selectionEnd), this._words)
    const text = words.join(" ")
    if (text === this._shown) return // chips that have the focus stay
    this._shown = text
    this._suggested.replaceChildren(...words.map((word) => this._chip(word)))
    this._suggested.hidden = words.length === 0
  }

  _chip(word) {
    return button(word, () => this._put(word), { class: "example" })
  }

  // In place of the word that is being written, or behind what is there.
  _put(word) {
    const control = this._control
    const before = control.value.slice(0, control.selectionEnd)
    const after = control.value.slice(control.selectionEnd)
    const begun = LAST_WORD.exec(before)?.[0] ?? ""
    const goesOn = begun && word.startsWith(begun.toLowerCase())
    const kept = goesOn ? before.slice(0, -begun.length) : before
    const gap = kept === "" || kept.endsWith(" ") ? "" : " "
    const text = `${kept}${gap}${word} `
    control.value = text + after.trimStart()
    control.focus()
    control.setSelectionRange(text.length, text.length)
    control.dispatchEvent(new Event("input", { bubbles: true }))
  }
}

// Words by which the last one of `text` may go on. None while there is nothing of it, or when it is whole.
export function completions(text, words) {
  const begun = LAST_WORD.exec(text)?.[0].toLowerCase()
  if (!begun || words.includes(begun)) return []
  return words.filter((word) => word.startsWith(begun)).slice(0, MOST_SUGGESTED)
}
