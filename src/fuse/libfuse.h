// The one place that includes libfuse.
#pragma once

#define FUSE_USE_VERSION 35
#include <fuse3/fuse_lowlevel.h>

// libfuse knows passthrough from 3.17 on.
#define LARDER_LIBFUSE_HAS_PASSTHROUGH (FUSE_VERSION >= FUSE_MAKE_VERSION(3, 17))
