// The request that makes a job again, as JSON, for curl and for the Python client.
import { key, urlOf } from "../core/api.js"
import { promptsOf } from "../job/facts.js"

const AS_THEY_ARE = ["num_frames", "fps", "seed", "guidance_scale", "num_inference_steps", "profile", "first_chunk", "image", "video", "control"]

// The body of POST /jobs that makes the same video. Defaults are in it: they may be other ones elsewhere.
export function requestOf({ request }) {
  const prompts = promptsOf({ request })
  const body = { model: request.model }
  if (prompts.length > 1) body.prompts = prompts
  else if (request.prompt) body.prompt = request.prompt
  if (request.negative_prompt) body.negative_prompt = request.negative_prompt
  for (const name of AS_THEY_ARE) {
    if (request[name] !== null && request[name] !== undefined) body[name] = request[name]
  }
  if (request.num_frames === null) body.num_frames = null
  if (request.width) body.size = `${request.width}x${request.height}`
  if (request.refine) body.refine = true
  if (Object.keys(request.parameters ?? {}).length) body.parameters = request.parameters
  return body
}

// The key itself is never in a text that people pass on: both read it from the environment.
const KEY = "LONGTAKE_KEY"
const quoted = (text) => `'${text.replaceAll("'", `'\\''`)}'`

export function curlOf(job) {
  const allowed = key() ? ` \\\n  -H "Authorization: Bearer $${KEY}"` : ""
  return `curl -fsS ${urlOf("jobs").href} -H 'Content-Type: application/json'${allowed} \\\n  -d ${quoted(JSON.stringify(requestOf(job)))}`
}

// JSON's texts are Python's too; its three words are not.
export function pythonOf(job) {
  const words = { true: "True", false: "False", null: "None" }
  const body = JSON.stringify(requestOf(job), null, 4).replace(/("(?:[^"\\]|\\.)*")|\b(true|false|null)\b/g, (all, text, word) => text ?? words[word])
  const [library, allowed] = key() ? ["import os\n\nimport httpx", `, headers={"Authorization": f"Bearer {os.environ['${KEY}']}"}`] : ["import httpx", ""]
  return `${library}\n\njob = httpx.post("${urlOf("jobs").href}", json=${body}${allowed}).raise_for_status().json()\nprint(job["links"]["video"])\n`
}
