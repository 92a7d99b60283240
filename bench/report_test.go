package main

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"
	"time"
)

// measuredReport is a report of one good row and one that failed.
func measuredReport() *report {
	same := [2]float64{12_345, 5_000}
	good := line{title: "create tables", metric: opsPerSec, unit: "/s", target: 2}.compare(roundsOf(same, same, same, same, same))
	few := line{title: "read tables", metric: opsPerSec, unit: "/s", target: 1}.compare(roundsOf(same, same, same))
	return &report{
		Began: time.Unix(0, 0), Took: "1m", Scale: 1, Versions: versions{"heliosmeta v1", "etcd 3", "go1"},
		Rows: []rowReport{
			{Name: "create", Rounds: 5, Lines: []compared{good}},
			{Name: "get", Rounds: 3, Lines: []compared{few}, Error: "round 4: it took\nmore | than 1m"},
		},
	}
}

func TestMarkdown(t *testing.T) {
	var b bytes.Buffer
	if err := measuredReport().writeMarkdown(&b); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		"| create tables | 12,345 /s | 5,000 /s | 2.47 [2.47..2.47] | >= 2 | yes |\n",
		"| read tables | 12,345 /s | 5,000 /s | needs 5 rounds, has 3 | >= 1 |  |\n",
		"| get: round 4: it took more / than 1m | | | | | |\n",
	} {
		if !strings.Contains(b.String(), want) {
			t.Errorf("no %q in:\n%s", want, b.String())
		}
	}
}

func TestScaleIsSaid(t *testing.T) {
	r := measuredReport()
	r.Scale = 0.01
	var b bytes.Buffer
	if err := r.writeMarkdown(&b); err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(b.String(), "Tried out with 0.01 of the objects") {
		t.Error("the table hides that it is of a hundredth")
	}
}

func TestJSON(t *testing.T) {
	var b bytes.Buffer
	if err := measuredReport().writeJSON(&b); err != nil {
		t.Fatal(err)
	}
	var back struct {
		Rows []struct {
			Name  string
			Lines []struct {
				Ratio *struct {
					Median float64
					Rounds []float64
				}
				Met *bool
			}
		}
	}
	if err := json.Unmarshal(b.Bytes(), &back); err != nil {
		t.Fatal(err)
	}
	good, few := back.Rows[0].Lines[0], back.Rows[1].Lines[0]
	if good.Ratio == nil || good.Ratio.Median != 2.469 || len(good.Ratio.Rounds) != 5 || good.Met == nil || !*good.Met {
		t.Errorf("the good row: %s", b.String())
	}
	if few.Ratio != nil || few.Met != nil {
		t.Error("3 rounds made a ratio")
	}
}

func TestNumber(t *testing.T) {
	for want, v := range map[string]float64{"0": 0, "0.0123": 0.01234, "0.5": 0.5, "1.23": 1.234, "12.3": 12.34, "123": 123.4, "1,234,567": 1234567, "5,000,000": 5e6} {
		if got := number(v); got != want {
			t.Errorf("%v is shown as %q, want %q", v, got, want)
		}
	}
}

func TestRowsAreWhole(t *testing.T) {
	seen := make(map[string]bool)
	for _, r := range rows() {
		if seen[r.name] || r.open == nil || len(r.lines) == 0 || r.limit <= 0 || r.about == "" {
			t.Errorf("row %q is there twice or not whole", r.name)
		}
		seen[r.name] = true
		for _, l := range r.lines {
			if l.title == "" || l.metric == "" {
				t.Errorf("row %q has a line without title or metric", r.name)
			}
		}
	}
	if _, err := choose("create-1, bulk"); err != nil {
		t.Error(err)
	}
	if _, err := choose("create-1,nothing"); err == nil {
		t.Error("a row that is not there was chosen")
	}
}
