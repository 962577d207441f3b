//go:build unix

package durable

import (
	"os"
	"syscall"
)

// SyncDir flushes the folder, so that files made, renamed and removed in it stay so after a loss of power.
func SyncDir(dir string) error {
	f, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer f.Close()
	return f.Sync()
}

// noFollow keeps root from opening, through a link that somebody laid in their own folder, a file that is not theirs.
const noFollow = syscall.O_NOFOLLOW

// InheritOwner gives the file or folder f the owner of the first of paths that exists, if we are root. An administrator
// who runs one command with sudo must not lock out the service whose folder it is.
func InheritOwner(f *os.File, paths ...string) {
	if os.Geteuid() != 0 {
		return
	}
	for _, path := range paths {
		info, err := os.Lstat(path)
		if err != nil {
			continue
		}
		if st, ok := info.Sys().(*syscall.Stat_t); ok {
			// Without the right to do it, the file stays root's, which is what it would have been anyway.
			_ = f.Chown(int(st.Uid), int(st.Gid))
		}
		return
	}
}
