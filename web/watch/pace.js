// How much of a video has to be there before it plays on. Pure: numbers in, seconds out.

const FIRST = 0.01 // the first chunk is enough to begin with
const AFTER_A_WAIT = 4 // seconds, so that a slow model does not make the video stutter with every chunk

// `left`: seconds of video between the playhead and its end, null without end; `isMade`: nothing more will come;
// `speed`: seconds of video made per second, null while unknown; `begins`: nothing has been played yet; `smoothly`: wait
// until it plays to its end without another wait.
export function secondsNeeded({ left, isMade, speed, begins, smoothly }) {
  if (isMade) return FIRST
  const through = throughout(left, speed)
  if (smoothly && through !== null) return Math.max(FIRST, through)
  if (begins || (speed !== null && speed >= 1)) return FIRST
  return Math.max(FIRST, Math.min(AFTER_A_WAIT, left ?? Infinity, through ?? Infinity))
}

// What has to be there so that the rest is made before it is reached: null if there is no end, or no speed yet.
export function throughout(left, speed) {
  if (left === null || speed === null) return null
  return speed >= 1 ? 0 : left * (1 - speed)
}

// Seconds until `needed` seconds are there, of which `there` are; null if nobody can tell.
export function secondsToWait({ needed, there, speed }) {
  return speed ? Math.max(0, (needed - there) / speed) : null
}
