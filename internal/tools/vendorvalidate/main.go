// Command vendorvalidate prints buf/validate/validate.proto out of the Go module that carries its
// compiled descriptor, so that buf can resolve the import without reaching a schema registry.
//
// It writes two files under the directory that it is given: the proto, headed by its licence notice,
// and the licence text itself. The output depends on the module's pinned version only; `make
// vendor-validate` runs it after that version was raised in go.mod here and in the root module (a
// mismatch between the two is refused). It is a module of its own and is never part of the service.
package main

import (
	"bytes"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime/debug"
	"strings"

	"buf.build/gen/go/bufbuild/protovalidate/protocolbuffers/go/buf/validate"
	"github.com/jhump/protoreflect/v2/protoprint"
)

const (
	modulePath = "buf.build/gen/go/bufbuild/protovalidate/protocolbuffers/go"

	notice = `// Copyright 2023-2026 Buf Technologies, Inc.
//
// Licensed under the Apache License, Version 2.0 (the "License");
// you may not use this file except in compliance with the License.
// You may obtain a copy of the License at
//
//      http://www.apache.org/licenses/LICENSE-2.0
//
// Unless required by applicable law or agreed to in writing, software
// distributed under the License is distributed on an "AS IS" BASIS,
// WITHOUT WARRANTIES OR CONDITIONS OF ANY KIND, either express or implied.
// See the License for the specific language governing permissions and
// limitations under the License.

// Printed by internal/tools/vendorvalidate from the Go module
// %s
// at %s. Comments are not part of a compiled descriptor, so they are missing here:
// see https://protovalidate.com for what each rule means. Do not edit.

`
)

func main() {
	out := flag.String("out", "../../../third_party/protovalidate", "directory to write to")
	root := flag.String("root", "../../..", "directory of the root module, whose version must be the same")
	flag.Parse()
	if err := vendor(*out, *root); err != nil {
		fmt.Fprintln(os.Stderr, "vendorvalidate:", err)
		os.Exit(1)
	}
}

// vendor writes the proto and its licence under out.
func vendor(out, root string) error {
	version, err := linkedVersion()
	if err != nil {
		return err
	}
	if err := sameAsRoot(root, version); err != nil {
		return err
	}
	printer := protoprint.Printer{SortElements: false, Compact: true}
	text, err := printer.PrintProtoToString(validate.File_buf_validate_validate_proto)
	if err != nil {
		return fmt.Errorf("printing the descriptor: %w", err)
	}
	head := fmt.Sprintf(notice, modulePath, version)
	dir := filepath.Join(out, "buf", "validate")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(dir, "validate.proto"), []byte(head+text), 0o644); err != nil {
		return err
	}
	moduleDir, err := goList("", "-f", "{{.Dir}}", modulePath)
	if err != nil {
		return err
	}
	licence, err := os.ReadFile(filepath.Join(moduleDir, "LICENSE"))
	if err != nil {
		return fmt.Errorf("reading the licence of %s: %w", modulePath, err)
	}
	return os.WriteFile(filepath.Join(out, "LICENSE"), licence, 0o644)
}

// linkedVersion returns the version of the descriptor's module that this program was built with.
func linkedVersion() (string, error) {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return "", errors.New("no build information: run this program with `go run .`")
	}
	for _, dep := range info.Deps {
		if dep.Path == modulePath {
			return dep.Version, nil
		}
	}
	return "", fmt.Errorf("%s is not among the modules linked in", modulePath)
}

// sameAsRoot refuses to print another version than the one that the service validates with.
func sameAsRoot(root, version string) error {
	used, err := goList(root, "-f", "{{.Version}}", modulePath)
	if err != nil {
		return err
	}
	if used != version {
		return fmt.Errorf("the root module uses %s %s, this tool %s: set the same version in both go.mod files", modulePath, used, version)
	}
	return nil
}

// goList runs `go list -m` in dir ("" is the current directory).
func goList(dir string, args ...string) (string, error) {
	cmd := exec.Command("go", append([]string{"list", "-m"}, args...)...)
	cmd.Dir = dir
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		return "", fmt.Errorf("go list -m in %q: %w: %s", dir, err, stderr.String())
	}
	return strings.TrimSpace(string(out)), nil
}
