// What follows from the JSON of a job.
import { rate } from "../core/format.js"

export const CHUNK_FRAMES = 16
const ENDED = new Set(["succeeded", "failed", "canceled", "expired"])
export const END_OF_SENTENCES = { succeeded: "The video is finished.", failed: "The job has failed.", canceled: "The job was canceled." }
const WORDS = { finalizing: "finishing", canceling: "stopping" }

export const hasEnded = (job) => ENDED.has(job.status)
export const fpsOf = (job) => rate(job.request.fps)
export const wordOf = (status) => WORDS[status] ?? status
export const statusWord = (job) => (job.progress.preparing ? "preparing" : wordOf(job.status))
export const frameSeconds = (job, frames) => frames / fpsOf(job)
export const secondsMade = (job) => frameSeconds(job, job.progress.frames_done)

// Seconds of the whole video; null while nobody knows. A job that was stopped has what it has.
export function secondsTotal(job) {
  const { frames_total: total, frames_done: done } = job.progress
  const frames = hasEnded(job) ? done : total
  return frames === null ? null : frameSeconds(job, frames)
}

export const isMade = (job) => hasEnded(job) || job.progress.frames_done === job.progress.frames_total

// {from, until} in seconds of chunk `index`; the last one may be shorter.
export function spanOf(job, index) {
  const end = job.progress.frames_total ?? Infinity
  const from = index * CHUNK_FRAMES
  return { from: frameSeconds(job, from), until: frameSeconds(job, Math.min(from + CHUNK_FRAMES, end)) }
}

export const chunkAt = (job, seconds) => Math.floor((seconds * fpsOf(job) + 1e-3) / CHUNK_FRAMES)
export const chunksOf = (job, variant) => (variant === "refined" ? job.progress.chunks_refined ?? 0 : job.progress.chunks_done)

// All prompts in order: [{start_frame, text}].
export function promptsOf(job) {
  return [{ start_frame: 0, text: job.request.prompt ?? "" }, ...(job.request.prompt_changes ?? [])]
}

export const titleOf = (job) => job.request.prompt || "Without a prompt"
