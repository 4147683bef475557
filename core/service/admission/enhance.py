"""`enhance_prompt`: what the operator's language model is asked for, and whether its answer can be used.

Whatever goes wrong here is a warning of the job, which then has the client's own words.
"""

from __future__ import annotations

import re
from dataclasses import replace

from core.service.admission.admission import Admitted, check_refiner
from core.service.admission.catalog import PresetFolder
from core.service.admission.prompts import read_prompt
from core.service.domain.errors import FieldNotSupported, InvalidField, PromptEnhancerFailed, RequestError
from core.service.domain.ports import PromptEnhancer
from core.service.domain.schema import JobRequest, JobWarning, WarningCode
from core.service.domain.text import check_characters

MAX_CHARACTERS = 4000
"""As of a client's prompt."""
_NUM_EXAMPLES = 3
_WORDS_PER_TOKEN = 0.7


def check_configured(request: JobRequest, enhancer: PromptEnhancer | None) -> None:
    """Raises FieldNotSupported if the request wants a longer prompt and the operator named nobody who writes one, and
    InvalidField beside `prompts`."""
    if request.enhance_prompt and request.prompts is not None:
        message, fix = "enhance_prompt is for one prompt, not for prompts", "leave it out, or give prompt"
        raise InvalidField(message, field="enhance_prompt", fix=fix)
    if request.enhance_prompt and enhancer is None:
        raise FieldNotSupported(
            "this deployment has no language model that lengthens prompts",
            field="enhance_prompt",
            fix="leave it out, or ask the operator to set LONGTAKE_PROMPT_ENHANCER_URL",
        )


async def enhanced(admitted: Admitted, folder: PresetFolder, enhancer: PromptEnhancer) -> Admitted:
    """The job with `prompt_used`, or with a warning why it has none. Raises nothing that is the endpoint's fault."""
    try:
        text = await enhancer.answer(instructions(folder), admitted.spec.prompt)
        prompt = usable(text, admitted, folder)
    except (PromptEnhancerFailed, RequestError) as error:
        return replace(admitted, warnings=(*admitted.warnings, _warning(error)))
    return replace(admitted, spec=admitted.spec.model_copy(update={"prompt_used": prompt}))


def instructions(folder: PresetFolder) -> str:
    """The system message: what a prompt for this model looks like."""
    preset = folder.preset
    words = max(1, int(preset.max_prompt_tokens * _WORDS_PER_TOKEN))
    examples = "".join(f"\n- {prompt}" for prompt in preset.example_prompts[:_NUM_EXAMPLES])
    return (
        "You rewrite prompts for a text-to-video model. Keep everything that the user says and add what is seen: "
        "appearance, surroundings, light, motion, camera. One shot, no cuts. Plain English, "
        f"at most {words} words. Answer with the prompt alone."
        + (f"\nPrompts that this model understands:{examples}" if examples else "")
    )


def usable(text: str, admitted: Admitted, folder: PresetFolder) -> str:
    """The answer as a prompt, on one line, without quotes around it. Raises RequestError as for a client's prompt."""
    prompt = re.sub(r"\s+", " ", text).strip().strip("\"'“”").strip()
    if len(prompt) > MAX_CHARACTERS:
        raise PromptEnhancerFailed(f"the longer prompt has more than {MAX_CHARACTERS} characters")
    check_characters("prompt", prompt)
    read = read_prompt(prompt, folder).text
    if admitted.spec.refine is not None:
        check_refiner("prompt", read, folder)
    return read


def _warning(error: PromptEnhancerFailed | RequestError) -> JobWarning:
    why = error.message if isinstance(error, PromptEnhancerFailed) else f"the longer prompt is not usable: {error}"
    message = f"the prompt is used as it was sent: {why}"
    return JobWarning(code=WarningCode.PROMPT_NOT_ENHANCED, message=message, field="enhance_prompt")
