// Tables of class `sortable` are sorted by a click on a column's head. Without this script they stay in their order.
"use strict"
for (const table of document.querySelectorAll("table.sortable")) {
  const heads = [...table.tHead.rows[0].cells]
  const valueOf = (row, index) => row.cells[index].dataset.value ?? ""
  const compare = (first, second) => {
    if (first === "" || second === "") return (first === "") - (second === "") // what is not known comes last
    const [one, other] = [Number(first), Number(second)]
    return Number.isNaN(one) || Number.isNaN(other) ? first.localeCompare(second, undefined, { numeric: true }) : one - other
  }
  heads.forEach((head, index) => {
    const button = document.createElement("button")
    button.type = "button"
    const small = head.querySelector("small")
    button.textContent = head.firstChild.textContent
    head.replaceChildren(button, ...(small ? [small] : []))
    button.addEventListener("click", () => {
      const up = head.getAttribute("aria-sort") !== "ascending"
      heads.forEach((each) => each.removeAttribute("aria-sort"))
      head.setAttribute("aria-sort", up ? "ascending" : "descending")
      const rows = [...table.tBodies[0].rows]
      rows.sort((a, b) => {
        const [first, second] = [valueOf(a, index), valueOf(b, index)]
        return first === "" || second === "" || up ? compare(first, second) : compare(second, first)
      })
      table.tBodies[0].append(...rows)
    })
  })
}
// Where a browser does not play a file, a link to it takes the player's place.
for (const source of document.querySelectorAll("video source")) {
  const player = source.parentElement
  const giveUp = () => {
    const told = player.parentElement.querySelector(".unplayable")
    told.querySelector("a").href = source.src
    told.hidden = false
    player.hidden = true
  }
  source.addEventListener("error", giveUp)
  // It may have failed before this line; sooner than now the state would be the same of a video that has not begun.
  addEventListener("load", () => player.networkState === HTMLMediaElement.NETWORK_NO_SOURCE && giveUp())
}
// A link to a video opens what is folded.
const openTarget = () => {
  const target = location.hash.length > 1 && document.getElementById(location.hash.slice(1))
  if (target && target.tagName === "DETAILS") target.open = true
}
window.addEventListener("hashchange", openTarget)
openTarget()
