// A select of panel-material-ui (0.16.6) opens at a click alone, and its list says neither what its items are nor which
// of them is the value. A notebook draws it elsewhere and leaves the focus where it was.
if (!window.wonderlandSelects) {
  window.wonderlandSelects = true
  let box, list // the select that was opened last, and its list
  let opening // the key that opened it, while it is down
  const selectOf = (event) => event.composedPath().find((el) => el.matches?.('.MuiSelect-select[role=combobox]'))

  const items = () => [...list.querySelectorAll('.MuiMenuItem-root')]
  const loose = () => !list.closest('.MuiModal-root') // as in a notebook

  const dress = (frames) => {
    const lists = [...box.getRootNode().querySelectorAll('.MuiList-root'), ...document.querySelectorAll('.MuiList-root')]
    list = lists.findLast((each) => each.querySelector('.MuiMenuItem-root'))
    if (!list) {
      if (frames) requestAnimationFrame(() => dress(frames - 1))
      return
    }
    list.role = 'listbox'
    const options = items()
    for (const option of options) {
      option.role = 'option'
      option.ariaSelected = String(option.textContent === box.textContent)
      if (option.ariaSelected === 'true') option.style.boxShadow = 'inset 3px 0 currentColor'
    }
    const first = options.find((option) => option.ariaSelected === 'true') ?? options[0]
    first.focus({ preventScroll: loose() }) // it may not stand in its place yet
  }

  // A notebook would take these keys for its own before they reached the list.
  const keyInNotebook = (key) => {
    const options = items()
    const at = options.indexOf(list.getRootNode().activeElement)
    const to = { ArrowDown: options[at + 1], ArrowUp: options[at - 1], Home: options[0], End: options.at(-1) }[key]
    to?.focus()
    const target = { Enter: options[at], ' ': options[at], Escape: document.body, Tab: document.body }[key]
    target?.click()
    if (target) box.focus()
  }

  // In the capture phase, on the window: before the widget, and before a notebook's own keys.
  window.addEventListener('click', (event) => {
    const clicked = selectOf(event)
    if (!clicked || clicked.ariaDisabled === 'true') return
    box = clicked
    requestAnimationFrame(() => dress(60))
  }, true)
  window.addEventListener('keydown', (event) => {
    if (list?.isConnected && loose() && event.composedPath().includes(list)) {
      event.preventDefault()
      event.stopImmediatePropagation()
      keyInNotebook(event.key)
      return
    }
    const focused = selectOf(event)
    if (!focused || event.ctrlKey || event.metaKey || ![' ', 'Enter', 'ArrowDown', 'ArrowUp'].includes(event.key)) return
    event.preventDefault()
    event.stopImmediatePropagation()
    opening = event.key
    focused.click()
  }, true)
  window.addEventListener('keyup', (event) => { // a space let go on an item would choose it
    if (event.key !== opening) return
    opening = undefined
    event.preventDefault()
    event.stopImmediatePropagation()
  }, true)
}
