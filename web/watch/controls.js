// The player's buttons, and the keys that work while the focus is in the player.
import { button, el, iconButton, rename, setAttribute, setText } from "../core/dom.js"
import { duration } from "../core/format.js"
import { FULLSCREEN, PAUSE, PLAY, TO_NEWEST, TO_START } from "../core/icons.js"
import { fpsOf, isMade, secondsMade, secondsTotal } from "../job/facts.js"

export class Controls {
  // `player`: a Player; `whole()`: what is shown on the full screen; `show(variant)`: the viewer chose one.
  constructor(player, { whole, jobOf, show }) {
    this._player = player
    this._jobOf = jobOf
    this._whole = whole
    this._play = iconButton(PLAY, "Play", () => player.toggle(), { class: "icon-button main" })
    this._start = iconButton(TO_START, "To the beginning", () => player.seek(0))
    this._newest = iconButton(TO_NEWEST, "To the newest frames", () => player.seek(secondsMade(jobOf()) - 1))
    this._time = el("span", { class: "time" })
    this._variants = new Map(["preview", "refined"].map((name) => [name, button(name, () => show(name))]))
    this._variant = el("div", { class: "choice", attributes: { role: "group", "aria-label": "Variant" } }, ...this._variants.values())
    this._smoothly = el("input", { type: "checkbox", onchange: () => player.waitForAll(this._smoothly.checked) })
    this._wait = el("label", { class: "check", title: "Wait until the rest can be played without another wait" },
      this._smoothly, "Play in one go")
    const full = iconButton(FULLSCREEN, "Full screen", () => this._fullScreen(), { class: "icon-button full" })
    this.element = el("div", { class: "controls" }, this._play, this._start, this._newest, this._time,
      el("span", { class: "filler" }), this._wait, this._variant, full)
  }

  update(variant) {
    const job = this._jobOf()
    const player = this._player
    const total = secondsTotal(job)
    this._play.querySelector("path").setAttribute("d", player.wants && !player.hasEnded ? PAUSE : PLAY)
    rename(this._play, player.hasEnded ? "Play again" : player.wants ? "Pause" : "Play")
    setText(this._time, `${duration(player.at)} / ${total === null ? "no end" : duration(total)}`)
    this._newest.hidden = isMade(job)
    this._wait.hidden = isMade(job) || total === null
    this._variant.hidden = job.progress.chunks_refined === null
    this._variants.get("refined").disabled = !job.progress.chunks_refined
    for (const [name, one] of this._variants) setAttribute(one, "aria-pressed", name === variant)
  }

  // True where the key meant something here.
  key(event) {
    if (event.altKey || event.ctrlKey || event.metaKey) return false
    const player = this._player
    const frame = 1 / fpsOf(this._jobOf())
    const isOnButton = event.target.closest("button, input")
    const acts = {
      " ": () => player.toggle(), k: () => player.toggle(), f: () => this._fullScreen(),
      j: () => player.seek(player.at - 5), l: () => player.seek(player.at + 5),
      ",": () => player.seek(player.at - frame), ".": () => player.seek(player.at + frame),
    }
    if (!(event.key in acts) || (event.key === " " && isOnButton)) return false
    acts[event.key]()
    return true
  }

  _fullScreen() {
    if (document.fullscreenElement) document.exitFullscreen()
    else this._whole().requestFullscreen?.().catch(() => {})
  }
}
