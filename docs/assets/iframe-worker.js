// Browsers start no worker from a file. Search needs one, so in a page that was opened as a file a frame plays its part:
// the script runs there, and what either side posts reaches the other as a message.
if (location.protocol === "file:") {
  window.IFrameWorker = class extends EventTarget {
    constructor(url) {
      super()
      this.waiting = []
      this.frame = document.createElement("iframe")
      this.frame.hidden = true
      this.frame.srcdoc = `<script>
        postMessage = message => parent.dispatchEvent(new MessageEvent("iframe-worker", { data: message }))
        importScripts = (...scripts) => scripts.reduce((done, script) => done.then(() => new Promise(loaded => {
          const element = document.createElement("script")
          element.src = script
          element.onload = loaded
          document.head.appendChild(element)
        })), Promise.resolve())
      <\/script><script src="${url}"><\/script>`
      window.addEventListener("iframe-worker", event => {
        const message = new MessageEvent("message", { data: event.data })
        this.dispatchEvent(message)
        if (this.onmessage) this.onmessage(message)
      })
      this.frame.onload = () => {
        this.isReady = true
        this.waiting.splice(0).forEach(message => this.postMessage(message))
      }
      document.body.appendChild(this.frame)
    }

    postMessage(data) {
      if (!this.isReady) return void this.waiting.push(data)
      this.frame.contentWindow.dispatchEvent(new MessageEvent("message", { data }))
    }

    terminate() {
      this.frame.remove()
    }
  }
  window.Worker = window.IFrameWorker
}
