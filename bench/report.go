package main

import (
	"encoding/json"
	"fmt"
	"io"
	"math"
	"os"
	"runtime"
	"strings"
	"time"
)

// report is everything that was measured; its JSON names are stable.
type report struct {
	Began    time.Time     `json:"began"`
	Took     string        `json:"took"`
	Machine  machineReport `json:"machine"`
	Versions versions      `json:"versions"`
	WarmUp   string        `json:"warm_up"`
	Duration string        `json:"duration"`
	Scale    float64       `json:"scale"` // of the rows about size
	Rows     []rowReport   `json:"rows"`
}

// machineReport is where it was measured.
type machineReport struct {
	CPU    string `json:"cpu"`
	CPUs   int    `json:"cpus"`
	Memory string `json:"memory"`
	Kernel string `json:"kernel"`
	Data   string `json:"data"` // directory
}

type versions struct {
	Heliosmeta string `json:"heliosmeta"`
	Etcd       string `json:"etcd"`
	Go         string `json:"go"`
}

// rowReport is a row that was measured.
type rowReport struct {
	Name    string     `json:"name"`
	About   string     `json:"about"`
	Columns [2]string  `json:"columns"`
	Rounds  int        `json:"rounds"`
	Repeats int        `json:"repeats"`
	Lines   []compared `json:"lines"`
	Error   string     `json:"error,omitempty"`
}

func (r *report) writeJSON(to io.Writer) error {
	encoder := json.NewEncoder(to)
	encoder.SetEscapeHTML(false)
	encoder.SetIndent("", "  ")
	return encoder.Encode(r)
}

// writeMarkdown writes the table for people.
func (r *report) writeMarkdown(to io.Writer) error {
	var b strings.Builder
	fmt.Fprintf(&b, "Measured %s in %s: %s against %s.\n", r.Began.UTC().Format(time.DateOnly), r.Took, r.Versions.Heliosmeta, r.Versions.Etcd)
	fmt.Fprintf(&b, "%s, %d CPUs, %s, %s; %s.\n", r.Machine.CPU, r.Machine.CPUs, r.Machine.Memory, r.Machine.Kernel, r.Versions.Go)
	fmt.Fprintf(&b, "Load and all members on the same machine; %s of warm-up and %s of measuring in each half of a round, where a row does not say otherwise.\n\n", r.WarmUp, r.Duration)
	if r.Scale != 1 {
		fmt.Fprintf(&b, "Tried out with %v of the objects that the titles name: the figures of those rows are not what they say.\n\n", r.Scale)
	}
	b.WriteString("| work | heliosmeta | etcd | ratio [min..max] | target | met |\n| --- | --- | --- | --- | --- | --- |\n")
	for _, row := range r.Rows {
		for _, l := range row.Lines {
			title := l.Title
			if row.Columns != ([2]string{}) {
				title += fmt.Sprintf(" (%s / %s)", row.Columns[0], row.Columns[1])
			}
			fmt.Fprintf(&b, "| %s | %s | %s | %s | %s | %s |\n", title, l.A.text(l.Unit), l.B.text(l.Unit), l.ratio(), l.goal(), l.verdict())
		}
		if row.Error != "" {
			fmt.Fprintf(&b, "| %s: %s | | | | | |\n", row.Name, oneLine(row.Error))
		}
	}
	b.WriteString("\nFigures are medians of rounds; the ratio is the median of the ratios within each round, ours over etcd's.\n")
	_, err := io.WriteString(to, b.String())
	return err
}

// oneLine keeps an error within its cell.
func oneLine(text string) string {
	return strings.NewReplacer("\n", " ", "|", "/").Replace(text)
}

// text shows a median.
func (s *spread) text(unit string) string {
	if s == nil {
		return ""
	}
	return strings.TrimSpace(number(s.Median) + " " + unit)
}

func (c *compared) ratio() string {
	if c.Ratio == nil {
		return c.Note
	}
	return fmt.Sprintf("%.2f [%.2f..%.2f]", c.Ratio.Median, c.Ratio.Min, c.Ratio.Max)
}

func (c *compared) goal() string {
	if c.Target == nil {
		return ""
	}
	sign := ">="
	if c.Lower {
		sign = "<="
	}
	return sign + " " + number(*c.Target)
}

func (c *compared) verdict() string {
	switch {
	case c.Met == nil:
		return ""
	case *c.Met:
		return "yes"
	}
	return "no"
}

// number shows three digits, or all that are before the point.
func number(v float64) string {
	digits := 2 - int(math.Floor(math.Log10(math.Abs(v))))
	if v == 0 || digits < 0 {
		digits = 0
	}
	text := fmt.Sprintf("%.*f", digits, v)
	if strings.Contains(text, ".") {
		return strings.TrimRight(strings.TrimRight(text, "0"), ".")
	}
	for i := len(text) - 3; i > 0 && text[i-1] != '-'; i -= 3 {
		text = text[:i] + "," + text[i:]
	}
	return text
}

// describeMachine reads what the system says of itself.
func describeMachine(dir string) machineReport {
	m := machineReport{CPU: "unknown", CPUs: runtime.NumCPU(), Memory: "unknown", Kernel: "unknown", Data: dir}
	if v := valueIn("/proc/cpuinfo", "model name"); v != "" {
		m.CPU = v
	}
	if v := valueIn("/proc/meminfo", "MemTotal"); v != "" {
		var kib int64
		if _, err := fmt.Sscanf(v, "%d kB", &kib); err == nil {
			m.Memory = fmt.Sprintf("%.1f GiB", float64(kib)/(1<<20))
		}
	}
	if text, err := os.ReadFile("/proc/sys/kernel/osrelease"); err == nil {
		m.Kernel = "Linux " + strings.TrimSpace(string(text))
	}
	return m
}

// valueIn finds the first line "key : value" of a file.
func valueIn(file, key string) string {
	text, err := os.ReadFile(file)
	if err != nil {
		return ""
	}
	for line := range strings.Lines(string(text)) {
		if name, value, ok := strings.Cut(line, ":"); ok && strings.TrimSpace(name) == key {
			return strings.TrimSpace(value)
		}
	}
	return ""
}
