package main

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"syscall"

	"github.com/spf13/cobra"
)

// cdcProgram is the program that `cdc` hands over to. It is one of its own, in a module of
// its own, so that a member has no client of message brokers in it.
const cdcProgram = "heliosmeta-cdc"

func (s *session) cdcCommand() *cobra.Command {
	return &cobra.Command{
		Use: "cdc run --consumer NAME --to TARGET", Short: "Carry changes to files, webhooks and message brokers (" + cdcProgram + ")",
		Long: `Carry changes to files, webhooks and message brokers.

This is done by the program ` + cdcProgram + `, which is looked for beside this one and on
PATH, and gets the same arguments: heliosmeta cdc run --help shows its flags.`,
		DisableFlagParsing: true,
		RunE: func(_ *cobra.Command, args []string) error {
			program, err := findCDC()
			if err != nil {
				return err
			}
			err = syscall.Exec(program, append([]string{program}, args...), os.Environ())
			return fmt.Errorf("%s cannot be run: %w", program, err) // there is no return from success
		},
	}
}

// findCDC returns the program's path: beside this one, or on PATH.
func findCDC() (string, error) {
	name := cdcProgram
	if runtime.GOOS == "windows" {
		name += ".exe"
	}
	own, err := os.Executable()
	if err != nil {
		return "", err
	}
	beside := filepath.Join(filepath.Dir(own), name)
	if info, err := os.Stat(beside); err == nil && info.Mode().IsRegular() {
		return beside, nil
	}
	found, err := exec.LookPath(name)
	switch {
	case errors.Is(err, exec.ErrDot):
		return "", fmt.Errorf("%s is in the current directory, which is not searched: move it beside %s or to a directory of PATH", name, own)
	case err != nil:
		return "", fmt.Errorf("there is no program %s in %s or on PATH; in the source tree, make build builds both", name, filepath.Dir(own))
	}
	return found, nil
}
