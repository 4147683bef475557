// Paths of icons, 24 by 24, for core/dom.js.
export const PLAY = "M7 4.5v15l12-7.5z"
export const PAUSE = "M7.5 5v14M16.5 5v14"
export const TO_START = "M6 5v14M19 5v14l-11-7z"
export const TO_NEWEST = "M18 5v14M5 5v14l11-7z"
export const FULLSCREEN = "M4 9V4h5M15 4h5v5M20 15v5h-5M9 20H4v-5"
export const SUN = "M12 8a4 4 0 1 0 0 8 4 4 0 0 0 0-8zM12 2v3M12 19v3M2 12h3M19 12h3M5 5l2 2M17 17l2 2M19 5l-2 2M7 17l-2 2"
export const KEY = "M8 11a4 4 0 1 0 0 8 4 4 0 0 0 0-8zM11 12l9-9M16 7l3 3"
export const CLOSE = "M5 5l14 14M19 5L5 19"
