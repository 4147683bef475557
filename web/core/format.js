// Numbers and times as people read them.

// 7.25 -> "7.3 s", 75 -> "1:15", 3700 -> "1:01:40"
export function duration(seconds) {
  if (seconds < 60) return `${seconds.toFixed(1)} s`
  const whole = Math.round(seconds)
  const parts = [Math.floor(whole / 3600), Math.floor(whole / 60) % 60, whole % 60]
  const [hours, minutes, rest] = parts
  const two = (number) => String(number).padStart(2, "0")
  return hours ? `${hours}:${two(minutes)}:${two(rest)}` : `${minutes}:${two(rest)}`
}

const LABELS = { guidance_scale: "guidance", num_inference_steps: "steps", num_frames: "frames", negative_prompt: "what it should not show" }

// The API's texts in the page's words: "`prompts[1].text` is ..." -> "Prompt 2 is ..."
export function named(text) {
  const words = text.replaceAll("`", "")
    .replace(/\bprompts\[(\d+)\]\.text\b/g, (_, index) => `prompt ${Number(index) + 1}`)
    .replace(/\b[a-z]+(?:_[a-z]+)+\b/g, (name) => LABELS[name] ?? name)
  return words.replace(/^[a-z]+(?= )/, (word) => word[0].toUpperCase() + word.slice(1))
}

// How long something takes, for which nobody needs tenths: "about 8 s", "about 3 min", "about 2 h"
export function about(seconds) {
  if (seconds < 90) return `about ${Math.max(1, Math.round(seconds))} s`
  if (seconds < 5400) return `about ${Math.round(seconds / 60)} min`
  return `about ${Math.round(seconds / 3600)} h`
}

// When something is to be expected: "in about 8 s", "any moment"
export function soon(seconds) {
  return seconds < 0.5 ? "any moment" : `in ${about(seconds)}`
}

export function bytes(count) {
  if (count < 1e6) return `${Math.max(1, Math.round(count / 1e3))} kB`
  return `${(count / 1e6).toFixed(1)} MB`
}

export function plural(count, one, many = `${one}s`) {
  return `${count.toLocaleString("en")} ${count === 1 ? one : many}`
}

const UNITS = [["day", 86400], ["hour", 3600], ["minute", 60]]
const RELATIVE = new Intl.RelativeTimeFormat("en", { numeric: "auto" })

// "3 minutes ago", "yesterday"
export function ago(time, now = Date.now()) {
  const seconds = (now - Date.parse(time)) / 1000
  for (const [unit, length] of UNITS) {
    if (seconds >= length) return RELATIVE.format(-Math.floor(seconds / length), unit)
  }
  return "just now"
}

// A rate of the API, 24 or "30000/1001", as a number.
export function rate(fps) {
  if (typeof fps === "number") return fps
  const [numerator, denominator = 1] = fps.split("/").map(Number)
  return numerator / denominator
}
