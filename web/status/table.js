// A table that is brought up to date in place: selections, focus and scrolling stay.
import { el, setAttribute, setText } from "../core/dom.js"

export class Table {
  // `columns`: by heading, how a row's cell is told: a text, or {text, href}. `empty`: what is said without rows.
  constructor(title, columns, empty) {
    this._columns = Object.values(columns)
    this._body = el("tbody")
    this._table = el("table", { attributes: { "aria-label": title } },
      el("thead", {}, el("tr", {}, ...Object.keys(columns).map((name) => el("th", { scope: "col", textContent: name })))), this._body)
    this._scroll = el("div", { class: "wide", tabIndex: 0, attributes: { role: "region", "aria-label": `${title}: table` } }, this._table)
    this._empty = el("p", { class: "hint", textContent: empty })
    this.element = el("section", { class: "card" }, el("h2", { textContent: title }), this._scroll, this._empty)
  }

  update(rows) {
    this._empty.hidden = rows.length > 0
    this._scroll.hidden = rows.length === 0
    while (this._body.rows.length > rows.length) {
      if (this._body.lastChild.contains(document.activeElement)) this._scroll.focus()
      this._body.lastChild.remove()
    }
    while (this._body.rows.length < rows.length) this._body.append(el("tr", {}, ...this._columns.map(() => el("td"))))
    rows.forEach((row, index) => this._columns.forEach((tell, column) => fill(this._body.rows[index].cells[column], tell(row))))
  }
}

// A link that goes while it has the focus leaves it to its table.
function fill(cell, told) {
  if (typeof told === "string") {
    const hadFocus = cell.contains(document.activeElement)
    setText(cell, told)
    if (hadFocus) cell.closest("[tabindex]").focus()
    return
  }
  let link = cell.querySelector("a")
  if (!link) {
    link = el("a")
    cell.replaceChildren(link)
  }
  setAttribute(link, "href", told.href)
  setText(link, told.text)
}
