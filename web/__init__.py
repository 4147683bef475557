"""The page at `/`: HTML, CSS and ES modules, as they are. The API serves them; nothing here is Python.

`index.html` names every file, `app.js` begins. Folders: `core/` (what everything uses), `job/` (a job and its media),
`watch/`, `make/`, `gallery/` (the views), `style/`.
"""
