// What is written in the form, kept for a reload of this tab. The API key is no field of it.

const DRAFT = "longtake-draft"

// {prompt, model, length, values}; {} for none.
export function draft() {
  try {
    return JSON.parse(sessionStorage.getItem(DRAFT)) ?? {}
  } catch {
    return {}
  }
}

export const keepDraft = (written) => sessionStorage.setItem(DRAFT, JSON.stringify(written))

// What fields have, by their names, so that other fields of these names can have it too. Files are not among it.
export function valuesOf(fields) {
  const values = {}
  for (const { name, control, isMedia } of fields) if (!isMedia) values[name] = control.type === "checkbox" ? control.checked : control.value
  return values
}

// A value that a choice does not offer is left out.
export function putValues(fields, values) {
  for (const { name, control, isMedia } of fields) {
    if (isMedia || !(name in values)) continue
    if (control.type === "checkbox") control.checked = values[name]
    else if (control.tagName !== "SELECT" || [...control.options].some(({ value }) => value === values[name])) control.value = values[name]
  }
}
