// What Panel (1.9.4) misses between a kernel and a display, mended.
//
// It drops what a kernel says of a display that is not drawn yet, and it says one thing in several messages: if the
// display was drawn between two of them, it would misread everything from then on. Here they wait for it.
//
// And it lets what the kernel has said come back as if it were the reader's wish, which would undo what the reader did
// meanwhile. All of it is sent back at once, though Bokeh marks such a change; and a widget that is told a second
// value before it has rendered the first falls back to the first, though the reader's hand is elsewhere.
(() => {
  const manager = window.PyViz?.comm_manager
  if (!manager || manager.mended) return
  manager.mended = true
  const LATELY = 3000 // ms

  const displays = new Set() // the ids of their elements
  let hand // the display that the reader touched last
  for (const kind of ['keydown', 'pointerdown']) {
    window.addEventListener(kind, (event) => {
      hand = event.composedPath().find((el) => displays.has(el.id))?.id ?? hand
    }, true)
  }

  const speakForReader = (display) => {
    displays.add(display.plot_id)
    if (Object.hasOwn(display, '_document_changed')) return
    const send = display._document_changed.bind(display)
    const told = new Map() // by the kernel, of each property: what and when, the latest last
    display._document_changed = (change) => {
      const { model, attr, value, sync } = change
      const key = `${model?.id}.${attr}`
      const lately = (told.get(key) ?? []).filter((each) => performance.now() - each.when < LATELY)
      if (!sync) {
        if (typeof value !== 'object') told.set(key, [...lately, { value, when: performance.now() }])
      } else if (hand === display.plot_id || !lately.some((each) => each.value === value)) {
        told.delete(key)
        send(change)
      } else if (lately.at(-1).value !== value) { // a fall back
        setTimeout(() => {
          if (told.has(key)) model.setv({ [attr]: told.get(key).at(-1).value }, { sync: false })
        })
      }
    }
  }

  const register = manager.register_target.bind(manager)
  manager.register_target = (plot, comm, handle) => {
    const waiting = []
    let timer, drawn
    const deliver = () => {
      timer = undefined
      drawn ||= window.PyViz.plot_index?.[plot] || (window.Bokeh && plot in window.Bokeh.index)
      if (!drawn) return void (timer = setTimeout(deliver, 50))
      window.PyViz.shared_views?.get(plot)?.forEach(speakForReader)
      while (waiting.length) handle(waiting.shift())
    }
    register(plot, comm, (message) => {
      waiting.push(message)
      if (timer === undefined) deliver()
    })
  }
})()
