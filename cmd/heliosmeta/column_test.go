package main

import (
	"strings"
	"testing"

	"github.com/heliosdb/metadata/internal/sqltype"
)

func TestParseColumn(t *testing.T) {
	for text, want := range map[string]string{
		"id INT64":                                          "id INT64 null=true",
		" id  bigint not null ":                             "id INT64 null=false",
		"v DECIMAL(15, 2) NULL":                             "v DECIMAL(15, 2) null=true",
		"v DECIMAL(15,2) NOT NULL DEFAULT 0":                "v DECIMAL(15, 2) null=false default=0",
		"at TIMESTAMP DEFAULT now() + 1":                    "at TIMESTAMP null=true default=now() + 1",
		"s STRING default 'not null'":                       "s STRING null=true default='not null'",
		"s STRUCT<default STRING NOT NULL>":                 "s STRUCT<default STRING NOT NULL> null=true",
		"s STRUCT<a DATE, default DATE> NOT NULL DEFAULT x": "s STRUCT<a DATE, default DATE> null=false default=x",
	} {
		c, err := parseColumn(text)
		if err != nil {
			t.Errorf("%q: %v", text, err)
			continue
		}
		got := c.GetName() + " " + sqltype.Format(c.GetDataType()) + " null=" + map[bool]string{true: "true", false: "false"}[c.GetNullable()]
		if c.Default != nil {
			got += " default=" + c.GetDefault()
		}
		if got != want {
			t.Errorf("%q is\n%s, want\n%s", text, got, want)
		}
	}
	for text, want := range map[string]string{
		"":                      "has no type",
		"id":                    "has no type",
		"id NOT NULL":           "there is no type NOT",
		"id INT8 DEFAULT ":      "has nothing behind DEFAULT",
		"id INT8 UNIQUE":        "is left over behind the type",
		"id VARCHAR(25)":        "VARCHAR",
		"id LIST<INT8":          "character 10 ",
		"id INT8 NOT DEFAULT 5": "left over",
	} {
		if c, err := parseColumn(text); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q is %v, %v; want an error with %q", text, c, err, want)
		}
	}
}
