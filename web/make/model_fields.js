// The fields that a model has: from its capabilities, its defaults and the JSON Schema of its parameters.
import { checkField, choiceField, numberField, schemaField, textField } from "./fields.js"

// Those that are always in sight: what the video is made from. `mediaField(name, label, kind)` gives a field for a file.
export function inputFields(model, mediaField) {
  const { image, video } = model.capabilities
  const fields = []
  if (image) fields.push(mediaField("image", "First picture", "image"))
  if (video !== "no") fields.push(mediaField("video", video === "whole" ? "Video to edit" : "Video to continue", "video"))
  if (model.capabilities.control.length) {
    fields.push(choiceField("control.type", "Follow", [["", "nothing"], ...model.capabilities.control]))
    fields.push(mediaField("control.video", "Video to follow", "video"))
  }
  return fields
}

// Those that are folded away.
export function advancedFields(model) {
  const has = (name) => model.capabilities.fields.includes(name)
  const profile = model.profiles[model.defaults.profile] ?? Object.values(model.profiles)[0] ?? {}
  const fields = []
  if (has("negative_prompt")) fields.push(textField("negative_prompt", "What it should not show", { wide: true }))
  if (has("fps")) fields.push(textField("fps", "Frames per second", { placeholder: String(model.defaults.fps), read: function () { return rate(this.control.value) } }))
  if (has("guidance_scale")) fields.push(numberField("guidance_scale", "Guidance", { placeholder: String(profile.guidance_scale ?? ""), min: 1, max: 30 }))
  if (has("num_inference_steps")) {
    const hint = profile.max_inference_steps ? `at most ${profile.max_inference_steps}` : ""
    fields.push(numberField("num_inference_steps", "Steps", { placeholder: String(profile.num_inference_steps ?? ""), min: 1, step: 1, hint }))
  }
  if (has("profile") && Object.keys(model.profiles).length > 1) {
    fields.push(choiceField("profile", "Profile", [["", `default: ${model.defaults.profile}`], ...Object.keys(model.profiles)]))
  }
  if (model.capabilities.size) fields.push(textField("size", "Size", { placeholder: `${model.width}x${model.height}`, hint: sizeHint(model.capabilities.size) }))
  fields.push(choiceField("priority", "Priority", [["", "normal"], "low", "high"]))
  for (const [name, property] of Object.entries(model.parameters?.properties ?? {})) fields.push(schemaField(`parameters.${name}`, property))
  if (model.refine) fields.push(checkField("refine", `Also refined, ${model.refine.width}x${model.refine.height}`))
  return fields
}

const sizeHint = ({ multiple_of: multiple, min_side: least, max_side: most }) => `multiples of ${multiple}, ${least} to ${most}`

function rate(text) {
  const trimmed = text.trim()
  if (trimmed === "") return undefined
  return Number.isNaN(Number(trimmed)) ? trimmed : Number(trimmed)
}

// The request's body from its fields: "control.type" becomes {control: {type}}.
export function bodyOf(fields) {
  const body = {}
  for (const field of fields) {
    const value = field.read()
    if (value === undefined) continue
    const [name, inner] = field.name.split(".")
    if (inner === undefined) body[name] = value
    else body[name] = { ...body[name], [inner]: value }
  }
  return body
}

// Whether something is still missing without which nobody could make a video of `body`.
export function isIncomplete(model, body) {
  const { prompt, needs_input: needsInput } = model.capabilities
  if (prompt === "required" && !(body.prompts ?? [{ text: body.prompt }])[0].text) return true
  if (needsInput && !body.image && !body.video) return true
  if (body.control && !(body.control.type && body.control.video)) return true
  return (model.parameters?.required ?? []).some((name) => body.parameters?.[name] === undefined)
}
