package chaos

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// Sizes of a disk that can be broken. The service keeps a reserve of 256 MiB.
const (
	imageBytes   = 640 << 20
	backingBytes = 704 << 20
	lastBytes    = 8 << 20
	commandWait  = 30 * time.Second // for mount and its like
	remountTries = 10
)

// disk is where one member keeps its data: a directory, or a file system of its own whose
// blocks are a file in memory, so that it can be filled, frozen and broken.
type disk struct {
	root    string // all below is in here
	path    string // of the file system
	backing string // directory with the image; empty: a plain directory
	loop    string // device of the image
	frozen  bool
	broken  bool // writes fail
}

// missingForDisks says why disks cannot be broken here; empty: they can.
func missingForDisks() string {
	if os.Geteuid() != 0 {
		return "not root"
	}
	for _, tool := range []string{"mount", "umount", "losetup", "mkfs.ext4", "e2fsck", "fsfreeze", "fallocate"} {
		if _, err := exec.LookPath(tool); err != nil {
			return "no " + tool + " in PATH"
		}
	}
	return ""
}

// newPlainDisk returns a directory.
func newPlainDisk(root string) (*disk, error) {
	d := &disk{root: root, path: filepath.Join(root, "disk")}
	return d, os.MkdirAll(d.path, 0o755)
}

// newBreakableDisk makes and mounts a file system. Close it even after an error.
func newBreakableDisk(root string) (*disk, error) {
	d := &disk{root: root, path: filepath.Join(root, "disk"), backing: filepath.Join(root, "backing")}
	for _, dir := range []string{d.path, d.backing} {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return d, err
		}
	}
	if err := command("mount", "-t", "tmpfs", "-o", fmt.Sprintf("size=%d", backingBytes), "chaos", d.backing); err != nil {
		return d, err
	}
	f, err := os.Create(d.image())
	if err != nil {
		return d, err
	}
	if err := errors.Join(f.Truncate(imageBytes), f.Close()); err != nil {
		return d, err
	}
	if err := command("mkfs.ext4", "-q", "-F", "-m", "0", d.image()); err != nil {
		return d, err
	}
	return d, d.mount()
}

func (d *disk) image() string   { return filepath.Join(d.backing, "image") }
func (d *disk) data() string    { return filepath.Join(d.path, "data") }
func (d *disk) ballast() string { return filepath.Join(d.path, "ballast") }

func (d *disk) mount() error {
	out, err := output("losetup", "--find", "--show", d.image())
	if err != nil {
		return err
	}
	d.loop = strings.TrimSpace(out)
	return command("mount", "-t", "ext4", d.loop, d.path)
}

func (d *disk) unmount() error {
	if d.loop == "" {
		return nil
	}
	err := errors.Join(d.thaw(), command("umount", d.path), command("losetup", "--detach", d.loop))
	d.loop = ""
	return err
}

// close unmounts everything. Directories stay.
func (d *disk) close() error {
	if d.backing == "" {
		return nil
	}
	err := d.unmount()
	if isMounted(d.backing) {
		err = errors.Join(err, command("umount", d.backing))
	}
	return err
}

// fill leaves so many bytes free.
func (d *disk) fill(leave uint64) error {
	free, err := freeBytes(d.path)
	if err != nil {
		return err
	}
	if free <= leave {
		return nil
	}
	return command("fallocate", "-l", strconv.FormatUint(free-leave, 10), d.ballast())
}

// overfill leaves nothing free.
func (d *disk) overfill() error {
	// The last blocks one by one: what a file system needs for itself cannot be foreseen.
	if err := d.fill(lastBytes); err != nil {
		return err
	}
	f, err := os.OpenFile(d.ballast(), os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o644)
	if err != nil {
		return err
	}
	for err == nil {
		_, err = f.Write(make([]byte, 4<<10))
	}
	if !errors.Is(err, syscall.ENOSPC) {
		return errors.Join(err, f.Close())
	}
	_ = f.Close() // what is in it does not matter
	return nil
}

// empty takes away what fill put there.
func (d *disk) empty() error { return os.RemoveAll(d.ballast()) }

// freeze makes every write wait until thaw.
func (d *disk) freeze() error {
	d.frozen = true
	return command("fsfreeze", "--freeze", d.path)
}

func (d *disk) thaw() error {
	if !d.frozen {
		return nil
	}
	d.frozen = false
	return command("fsfreeze", "--unfreeze", d.path)
}

// breakWrites makes writes to blocks that were never written fail on their way to the
// device, so that an fsync fails soon.
func (d *disk) breakWrites() (err error) {
	d.broken = true
	for range remountTries {
		var used uint64
		if used, err = usedBytes(d.backing); err != nil {
			return err
		}
		// Refused if more is in use by now.
		if err = d.limit(used); err == nil {
			return nil
		}
	}
	return err
}

// limit sets how large the image may become.
func (d *disk) limit(size uint64) error {
	return command("mount", "-o", fmt.Sprintf("remount,size=%d", size), d.backing)
}

// repair ends breakWrites and mounts the file system anew, so that what never reached the
// device is gone. No process may use the disk.
func (d *disk) repair() error {
	d.broken = false
	err := errors.Join(d.unmount(), d.limit(backingBytes))
	// 1 means that something was mended.
	if out, fsck := exec.Command("e2fsck", "-p", d.image()).CombinedOutput(); fsck != nil {
		if exit, ok := errors.AsType[*exec.ExitError](fsck); !ok || exit.ExitCode() > 1 {
			err = errors.Join(err, fmt.Errorf("e2fsck %s: %w\n%s", d.image(), fsck, out))
		}
	}
	return errors.Join(err, d.mount())
}

// dropUnsynced is a power failure: what was not synced is gone. No process may use the disk.
func (d *disk) dropUnsynced() error {
	if err := shutDown(d.path); err != nil {
		return err
	}
	return d.repair()
}

// wipe deletes the member's data.
func (d *disk) wipe() error { return os.RemoveAll(d.data()) }

func freeBytes(path string) (uint64, error) {
	_, free, err := space(path)
	return free, err
}

func usedBytes(path string) (uint64, error) {
	total, free, err := space(path)
	return total - free, err
}

// space returns the size of a file system and what is free for all.
func space(path string) (total, free uint64, err error) {
	out, err := output("stat", "--file-system", "--format", "%b %a %S", path)
	if err != nil {
		return 0, 0, err
	}
	var blocks, available, size uint64
	_, err = fmt.Sscan(out, &blocks, &available, &size)
	return blocks * size, available * size, err
}

func isMounted(path string) bool {
	text, err := os.ReadFile("/proc/self/mounts")
	return err == nil && strings.Contains(string(text), " "+path+" ")
}

func command(name string, args ...string) error {
	_, err := output(name, args...)
	return err
}

func output(name string, args ...string) (string, error) {
	ctx, cancel := context.WithTimeout(context.Background(), commandWait)
	defer cancel()
	cmd := exec.CommandContext(ctx, name, args...)
	var errs strings.Builder
	cmd.Stderr, cmd.WaitDelay = &errs, time.Second
	out, err := cmd.Output()
	if err != nil {
		return "", fmt.Errorf("%s %s: %w: %s", name, strings.Join(args, " "), err, strings.TrimSpace(errs.String()))
	}
	return string(out), nil
}
