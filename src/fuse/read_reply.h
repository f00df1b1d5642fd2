// Sends what a read found.
#pragma once

#include "fs/file_system.h"
#include "fuse/responder.h"

namespace larder::fuse {

// Allocates nothing once the thread has sent a reply of this size.
void send_slices(Responder& responder, const fs::ReadReply& reply);

}  // namespace larder::fuse
