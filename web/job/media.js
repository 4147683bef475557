// Addresses of a job's media. They carry the token of the job's links, so that they open without a key.
import { urlOf } from "../core/api.js"

// `path` below the job, for example "chunks/3.mp4". Links lead elsewhere only where a CDN serves media: a link's own host
// may be one that only the proxy before the API knows.
export function mediaUrl(job, path, parameters = {}) {
  const link = new URL(job.links.video)
  const isHere = link.origin === new URL(job.links.self).origin
  const url = isHere ? urlOf(`jobs/${encodeURIComponent(job.id)}/${path}`) : new URL(path, link)
  const query = new URLSearchParams(link.search)
  for (const [name, value] of Object.entries(parameters)) if (value !== null) query.set(name, value)
  url.search = query
  return url.href
}

const ofVariant = (variant) => ({ variant: variant === "refined" ? "refined" : null })
export const chunkUrl = (job, index, variant) => mediaUrl(job, `chunks/${index}.mp4`, ofVariant(variant))
export const playlistUrl = (job, variant) => mediaUrl(job, "playlist.m3u8", ofVariant(variant))
export const fileUrl = (job, variant) => mediaUrl(job, "video", ofVariant(variant))
export const thumbnailUrl = (job) => mediaUrl(job, "thumbnail.jpg")
