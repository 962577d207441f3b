package certdir

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"cnamed/acmeclient/certdir/durable"
)

// tmpPrefix begins the names of what a Save has not finished. No certificate's name and no version begins with a dot.
const tmpPrefix = ".tmp-"

// saveWait is how long a Save waits for another one, which takes milliseconds.
const saveWait = 30 * time.Second

var (
	errForeign    = errors.New("is not a link that this program made")
	errIncomplete = errors.New("certificate, full chain and key must not be empty")
)

// Save makes files the newest version of the certificate name and returns where they are. After nil they are durable
// and whoever opens a path under live gets them. After an error the version before is in place, untouched; see Error.
// Old versions beyond Keep are removed.
func (d *Dir) Save(name string, files Files) (Paths, error) {
	if err := CheckName(name); err != nil {
		return Paths{}, err
	}
	if err := d.save(name, files); err != nil {
		return Paths{}, &Error{Op: "saving", Path: filepath.Join(d.live(), name), Err: err}
	}
	return d.Paths(name), nil
}

func (d *Dir) save(name string, files Files) error {
	if len(files.Cert) == 0 || len(files.FullChain) == 0 || len(files.PrivKey) == 0 {
		return errIncomplete
	}
	if err := d.checkLive(name); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(context.Background(), saveWait)
	defer cancel()
	// Not the lock of Lock, which the caller may hold: this one is for the moment of the write.
	lock, err := durable.Acquire(ctx, filepath.Join(d.archive(""), ".lock"))
	if err != nil {
		return err
	}
	err = d.saveLocked(name, files)
	return errors.Join(err, lock.Release())
}

func (d *Dir) saveLocked(name string, files Files) error {
	if err := durable.MkdirAll(d.archive(name), 0o755); err != nil {
		return err
	}
	d.removeLeftovers(name)
	versions, err := d.versions(name)
	if err != nil {
		return err
	}
	next := 1
	if len(versions) > 0 {
		next = versions[len(versions)-1] + 1
	}
	if err := d.addVersion(name, next, files); err != nil {
		return err
	}
	if err := d.switchTo(name, next, files); err != nil {
		_ = os.RemoveAll(d.versionDir(name, next)) // nothing points there
		return err
	}
	if err := d.do("flush live", func() error { return durable.SyncDir(d.live()) }); err != nil {
		return fmt.Errorf("the new files are in place, but a loss of power may undo it: %w", err)
	}
	d.prune(name, append(versions, next))
	return nil
}

// addVersion writes the files to a folder that gets its name when it is whole and flushed.
func (d *Dir) addVersion(name string, version int, files Files) error {
	tmp := filepath.Join(d.archive(name), tmpPrefix+strconv.Itoa(version))
	err := d.do("make folder", func() error { return durable.Mkdir(tmp, 0o700) })
	if err != nil {
		return err
	}
	if err := d.fill(tmp, files); err != nil {
		_ = os.RemoveAll(tmp) // else the next Save removes it
		return err
	}
	err = d.do("name version", func() error { return os.Rename(tmp, d.versionDir(name, version)) })
	if err != nil {
		_ = os.RemoveAll(tmp)
		return err
	}
	err = d.do("flush versions", func() error { return durable.SyncDir(d.archive(name)) })
	if err != nil {
		_ = os.RemoveAll(d.versionDir(name, version))
	}
	return err
}

func (d *Dir) fill(dir string, files Files) error {
	for _, m := range files.members() {
		err := d.do("write "+m.name, func() error { return writeFile(filepath.Join(dir, m.name), *m.data, m.mode) })
		if err != nil {
			return err
		}
	}
	return d.do("flush folder", func() error {
		if err := os.Chmod(dir, 0o755); err != nil {
			return err
		}
		return durable.SyncDir(dir)
	})
}

// writeFile writes a new file and flushes it.
func writeFile(path string, data []byte, mode fs.FileMode) error {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, mode)
	if err != nil {
		return err
	}
	durable.InheritOwner(f, filepath.Dir(path))
	_, err = f.Write(data)
	if err == nil {
		err = f.Chmod(mode) // whatever the umask
	}
	if err == nil {
		err = f.Sync()
	}
	return errors.Join(err, f.Close())
}

// checkLive refuses to replace what this package did not make.
func (d *Dir) checkLive(name string) error {
	info, err := os.Lstat(filepath.Join(d.live(), name))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	if d.links && info.Mode()&fs.ModeSymlink == 0 || !d.links && !info.IsDir() {
		return errForeign
	}
	return nil
}

// switchTo makes the version the one that is found under live.
func (d *Dir) switchTo(name string, version int, files Files) error {
	if !d.links {
		return d.copyTo(name, files)
	}
	tmp := filepath.Join(d.live(), tmpPrefix+"link")
	target := filepath.Join("..", "archive", name, strconv.Itoa(version))
	if err := d.do("make link", func() error { return os.Symlink(target, tmp) }); err != nil {
		return err
	}
	err := d.do("switch", func() error { return os.Rename(tmp, filepath.Join(d.live(), name)) })
	if err != nil {
		_ = os.Remove(tmp)
	}
	return err
}

// copyTo is switchTo for systems without links.
func (d *Dir) copyTo(name string, files Files) error {
	if err := durable.MkdirAll(filepath.Join(d.live(), name), 0o755); err != nil {
		return err
	}
	for _, m := range files.members() {
		path := filepath.Join(d.live(), name, m.name)
		err := d.do("copy "+m.name, func() error { return durable.WriteFile(path, *m.data, m.mode) })
		if err != nil {
			return err
		}
	}
	return nil
}

// removeLeftovers removes what a Save that was interrupted has left. What cannot be removed now harms nobody, unless the
// next step needs its place; then that step fails and says so.
func (d *Dir) removeLeftovers(name string) {
	_ = os.Remove(filepath.Join(d.live(), tmpPrefix+"link"))
	entries, err := os.ReadDir(d.archive(name))
	if err != nil {
		return
	}
	for _, entry := range entries {
		if strings.HasPrefix(entry.Name(), tmpPrefix) {
			_ = os.RemoveAll(filepath.Join(d.archive(name), entry.Name()))
		}
	}
}

// prune removes all but the newest versions; the last one is the one in use. The certificate is saved by now, so that
// an old version which resists is no reason to report an error; the next Save tries again.
func (d *Dir) prune(name string, versions []int) {
	for _, version := range versions[:max(0, len(versions)-Keep)] {
		_ = d.do("prune", func() error { return os.RemoveAll(d.versionDir(name, version)) })
	}
}

// do runs one step of a Save or Load.
func (d *Dir) do(step string, action func() error) error {
	if err := d.before(step); err != nil {
		return err
	}
	return action()
}
