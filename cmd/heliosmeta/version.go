package main

import (
	"fmt"
	"hash/crc32"
	"io"
	"os"
	"runtime"
	"runtime/debug"

	"github.com/spf13/cobra"

	"github.com/heliosdb/metadata/cmd/heliosmeta/internal/output"
	"github.com/heliosdb/metadata/events"
)

// buildVersion is the module's version, or the commit that was built.
func buildVersion() string {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return "unknown"
	}
	version, modified := info.Main.Version, ""
	for _, setting := range info.Settings {
		switch {
		case setting.Key == "vcs.revision" && (version == "" || version == "(devel)"):
			version = setting.Value[:min(len(setting.Value), 12)]
		case setting.Key == "vcs.modified" && setting.Value == "true":
			modified = "+changed"
		}
	}
	if version == "" || version == "(devel)" {
		return "development"
	}
	if info.Main.Version == version {
		return version
	}
	return version + modified
}

// buildID identifies the running program by its bytes: other than a version it tells
// builds apart that were never committed. It is empty when it cannot be found out.
func buildID() string {
	path, err := os.Executable()
	if err != nil {
		return ""
	}
	f, err := os.Open(path)
	if err != nil {
		return ""
	}
	defer func() { _ = f.Close() }()
	sum := crc32.New(crc32.MakeTable(crc32.Castagnoli)) // fast: a start waits for it
	size, err := io.Copy(sum, f)
	if err != nil {
		return ""
	}
	return fmt.Sprintf("%x-%08x", size, sum.Sum32())
}

func (s *session) versionCommand() *cobra.Command {
	return &cobra.Command{
		Use: "version", Short: "Print the version of this program", Args: cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			v := struct {
				Version      string `json:"version"`
				Go           string `json:"go"`
				Platform     string `json:"platform"`
				FeatureLevel uint32 `json:"feature_level"`
			}{buildVersion(), runtime.Version(), runtime.GOOS + "/" + runtime.GOARCH, events.FeatureLevel}
			return s.printer().Value(v, func(r *output.Rows) {
				r.Text("heliosmeta %s (%s, %s, feature level %d)", v.Version, v.Go, v.Platform, v.FeatureLevel)
			})
		},
	}
}
