// The engine over io_uring.  The one owner of liburing.
#pragma once

#include <memory>

#include "io/engine.h"
#include "io/inbox.h"
#include "io/reactor.h"

namespace larder::io {

// On the reactor's thread, which alone uses the engine and destroys it.  Makes the inbox wake by
// its descriptor.  kNotSupported, with the reason, when the kernel refuses.
Result<std::unique_ptr<Engine>> make_ring_engine(OperationSink& sink, Inbox& inbox,
                                                 const ReactorOptions& options);

}  // namespace larder::io
