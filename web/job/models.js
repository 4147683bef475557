// What models can do. Read once: it changes when the service is started anew.
import { read } from "../core/api.js"

let reading = null

// All models. Throws Problem.
export function models() {
  reading ??= read("models").then((answer) => answer.models)
  reading.catch(() => { reading = null })
  return reading
}

// The capabilities of one; those of a model that is gone allow nothing.
export async function capabilitiesOf(name) {
  const found = (await models()).find((model) => model.name === name)
  return found?.capabilities ?? { prompt_changes: false, endless: false, reseeds: false }
}

// Whether a worker makes jobs of the model now. Throws Problem.
export async function hasWorker(name) {
  const answer = await read("models", { cache: "no-cache" })
  return answer.models.some((model) => model.name === name && model.workers.ready > 0)
}

export const noWorker = (name) => `No worker makes ${name} now; it waits until there is one.`
