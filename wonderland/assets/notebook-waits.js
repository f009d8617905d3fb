// Panel (1.9.4) drops what a kernel says of a display that is not drawn yet, and it says one thing in several messages:
// if the display was drawn between two of them, it would misread everything from then on. Here they wait for it.
(() => {
  const manager = window.PyViz?.comm_manager
  if (!manager || manager.waitsForDisplays) return
  manager.waitsForDisplays = true
  const register = manager.register_target.bind(manager)
  manager.register_target = (plot, comm, handle) => {
    const waiting = []
    let timer, drawn
    const deliver = () => {
      timer = undefined
      drawn ||= window.PyViz.plot_index?.[plot] || (window.Bokeh && plot in window.Bokeh.index)
      if (!drawn) timer = setTimeout(deliver, 50)
      else while (waiting.length) handle(waiting.shift())
    }
    register(plot, comm, (message) => {
      waiting.push(message)
      if (timer === undefined) deliver()
    })
  }
})()
