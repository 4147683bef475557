// Takes single frames of a job, one after the other, from a video that nobody sees.
import { el } from "../core/dom.js"
import { fpsOf } from "../job/facts.js"
import { playlistUrl } from "../job/media.js"
import { canFeed, Feed } from "./feed.js"

export class Frames {
  // `next()`: the number of the frame that is wanted now, null for none yet; `take(number, video)`: it is on the video;
  // `failed(text)`: a part cannot be read, and is tried again.
  constructor(jobOf, { next, take, failed }) {
    this._jobOf = jobOf
    this._next = next
    this._take = take
    this._video = el("video", { muted: true, playsInline: true, attributes: { crossorigin: "anonymous" } })
    this._isClosed = false
    this._wakened = null
    if (canFeed()) {
      this._feed = new Feed(this._video, jobOf, { at: 0, variant: "preview" })
      this._feed.addEventListener("failure", ({ error }) => failed(error.message))
    } else this._video.src = playlistUrl(jobOf(), "preview")
    this._run()
  }

  close() {
    this._isClosed = true
    this.wake()
    if (this._feed) this._feed.close()
    else this._video.removeAttribute("src")
  }

  // Call it when the job has changed.
  wake() {
    this._feed?.wake()
    this._wakened?.()
  }

  async _run() {
    await this._told("loadeddata")
    while (!this._isClosed) {
      const woken = new Promise((done) => { this._wakened = done })
      const number = this._next()
      if (number === null) {
        await woken
        continue
      }
      const seeked = this._told("seeked")
      this._video.currentTime = (number + 0.5) / fpsOf(this._jobOf()) // the middle: no rounding leads to its neighbour
      await Promise.race([seeked, this._closed()])
      if (!this._isClosed && this._video.readyState >= HTMLMediaElement.HAVE_CURRENT_DATA) this._take(number, this._video)
    }
  }

  _told(name) {
    return new Promise((done) => this._video.addEventListener(name, done, { once: true }))
  }

  _closed() {
    return new Promise((done) => this._video.addEventListener("emptied", done, { once: true }))
  }
}
