// Set-id bits that a change costs the file and that the kernel leaves to us.
//
// It clears them itself, by a SETATTR before the change, but not all: set-group-id without execute
// permission for the group never (6.18), and none at all when a file is emptied by O_TRUNC, which
// is ours to carry out (FUSE_CAP_ATOMIC_O_TRUNC).  The source's file system does not do it either
// where it is asked with root's rights.  The kernel's own way of leaving them to us
// (FUSE_HANDLE_KILLPRIV_V2) says with each change that bits go, but not whether the one that is for
// the file's group to keep does; so who changes the file is looked at here.
#pragma once

#include "fs/file_system.h"
#include "fuse/adapter.h"
#include "fuse/libfuse.h"

namespace larder::fuse {

// The caller with all his groups, from his /proc as far as it can be seen; without it he is in the
// one group.
Credentials credentials_of(fuse_req_t request);

// The bits that go when the caller changes this file: none for root, nor for the file systems of
// users, whose source does it.  Quick where the file has none.
uint32_t lost_set_id(fuse_req_t request, Adapter& adapter, fs::KernelId id);

// As part of a change of attributes.
void take_set_id(fs::AttributeChange& change, uint32_t bits);

template <class T>
io::Task<Result<T>> take_set_id_first(Adapter* adapter, fs::KernelId id, uint32_t bits,
                                      io::Task<Result<T>> change) {
  fs::AttributeChange taking;
  take_set_id(taking, bits);
  io::Task<Result<fs::AttributesReply>> task = adapter->files.set_attributes(id, taking, 0);
  CO_TRY(co_await std::move(task));
  co_return co_await std::move(change);
}

// `change` after the bits are gone.
template <class T>
io::Task<Result<T>> without_set_id(Adapter& adapter, fs::KernelId id, uint32_t bits,
                                   io::Task<Result<T>> change) {
  if (bits == 0) return change;
  return take_set_id_first(&adapter, id, bits, std::move(change));
}

}  // namespace larder::fuse
