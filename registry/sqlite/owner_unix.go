//go:build unix

package sqlite

import (
	"os"
	"syscall"
)

// inheritOwner gives the file at path the owner of the first of others that
// exists, if we are root: the server, another user, has to open what an
// administrator made. Nothing is given away through a link that this other user
// laid in its folder.
func inheritOwner(path string, others ...string) {
	if os.Geteuid() != 0 {
		return
	}
	f, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NOFOLLOW|syscall.O_NONBLOCK, 0)
	if err != nil {
		return
	}
	defer f.Close()
	if info, err := f.Stat(); err != nil || !info.Mode().IsRegular() || info.Sys().(*syscall.Stat_t).Nlink != 1 {
		return
	}
	for _, other := range others {
		if info, err := os.Lstat(other); err == nil {
			// Without the right to do it the file stays root's, as it would have been.
			owner := info.Sys().(*syscall.Stat_t)
			_ = f.Chown(int(owner.Uid), int(owner.Gid))
			return
		}
	}
}
