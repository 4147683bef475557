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
