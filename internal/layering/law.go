// Package layering keeps the house in order: who may import whom, what the deterministic core may
// not touch, and how large things may grow. It is data and checks that run as tests; no other package
// imports it.
//
// The checks parse every Go file of the module whatever its build tags, without building anything, and
// report all violations in a stable order. They judge syntax only: a forbidden call that hides behind a
// variable or an interface passes them, and is for the reader to find.
package layering

// Module is the import path that all packages below share.
const Module = "github.com/heliosdb/metadata"

// everything in a row's MayImport allows every package of ours.
const everything = "everything"

// Row says what one package, with its subpackages, may import of ours. Beside that, each may import
// itself and the leaves under internal. The row with the longest matching Package holds.
type Row struct {
	Package   string
	MayImport []string
}

// Law is the table that ARCHITECTURE.md repeats for readers. Arrows point one way: from what decides and
// serves towards what is true and what was said.
var Law = []Row{
	{"proto", nil},
	{"events", []string{"proto"}},
	{"projections", []string{"events", "proto"}},
	{"commands", []string{"projections", "events", "proto"}},
	{"raftlog", nil},
	{"feed", []string{"events", "proto"}},
	{"leases", []string{"projections", "events", "proto"}},
	{"history", []string{"projections", "events", "proto"}},
	{"history/audit", []string{"history", "events", "proto"}},
	{"history/backfill", []string{"history", "replica", "projections", "events", "raftlog", "proto"}},
	{"history/export", []string{"history", "events", "proto"}},
	{"history/historytest", []string{"history", "events", "proto"}},
	{"history/retention", []string{"replica", "projections", "events", "raftlog", "proto"}},
	{"history/stored", []string{"history", "replica", "feed", "projections", "events", "raftlog", "proto"}},
	{"replica", []string{"commands", "projections", "events", "raftlog", "feed", "proto"}},
	{"member", []string{"replica", "history", "leases", "feed", "commands", "projections", "events", "raftlog", "proto"}},
	{"server", []string{"member", "replica", "history", "leases", "feed", "commands", "projections", "events", "proto"}},
	{"client", []string{"history", "projections", "events", "proto"}},
	{"client/typescript", nil},
	{"client/clienttest", []string{"client", "server", "member", "leases", "raftlog", "proto"}},
	{"console", nil},
	{"examples", nil},
	{"cmd", []string{everything}},
	{"internal", []string{"proto"}},
	{"internal/chaos", []string{"client", "events", "proto"}},
	{"internal/consistency", []string{"projections", "events", "proto"}},
	{"internal/hostile", []string{everything}},
	{"internal/pasts", []string{"commands", "history", "projections", "events", "proto"}},
	{"internal/simulation", []string{everything}},
	{"internal/workload", []string{"client", "proto"}},
}

// Blind lists packages that may not reach another one by any path, leaves under internal included.
var Blind = map[string][]string{
	// The log agrees on the order of bytes that it does not understand.
	"raftlog": {"proto", "events"},
	// Models and decisions know nothing of how they are replicated or served.
	"commands": {"raftlog", "replica", "server"},
	"client":   {"raftlog", "replica", "server", "commands"},
	// It is the service, for tests of those who use the client.
	"client/clienttest": nil,
}

// coreArea is a part of the tree that has to behave the same on every member and in every run.
type coreArea struct {
	dir  string
	deep bool // subpackages too
	// Files with this prefix drive the step machines from outside and are not core.
	driverPrefix string
}

var core = []coreArea{
	{dir: "commands", deep: true},
	{dir: "events", deep: true},
	{dir: "projections", deep: true},
	{dir: "feed", deep: true},
	{dir: "leases", deep: true},
	{dir: "history", deep: true, driverPrefix: "disk"},
	{dir: "client/consume", deep: true},
	{dir: "client/follow", deep: true},
	{dir: "client/session", deep: true},
	{dir: "internal/hashwatch", deep: true},
	{dir: "replica", driverPrefix: "driver"},
	{dir: "raftlog", driverPrefix: "driver"},
}

// impure names what the core may not use, by import path: a name, a prefix ending in "*", or "*" for all
// of it. Time, ids and randomness come in with the command; files and sockets belong to drivers.
var impure = map[string][]string{
	"time":                   {"Now", "Since", "Until", "After", "AfterFunc", "Tick", "Sleep", "NewTimer", "NewTicker"},
	"math/rand":              globalRand,
	"math/rand/v2":           globalRand,
	"crypto/rand":            {"*"},
	"github.com/google/uuid": {"New*"},
	"os":                     {"*"},
	"os/exec":                {"*"},
	"net":                    {"*"},
	"net/http":               {"*"},
	"syscall":                {"*"},
}

// globalRand are the functions that draw from the process-wide source. Sources that are handed in are fine.
var globalRand = []string{"Int*", "Uint*", "Float*", "N", "NormFloat64", "ExpFloat64", "Perm", "Shuffle", "Read", "Seed"}

// Limits of size, for files that people write and that are not tests.
const (
	maxFileLines     = 400
	maxFunctionLines = 80
)

// longFunctions may be longer than maxFunctionLines, for the reason given. The key is the directory, a dot
// and the function, with its receiver's type if it has one: "server.(Handler).Serve". An entry that is no
// longer needed fails the test.
var longFunctions = map[string]string{}

// vagueNames say nothing about what a package is.
var vagueNames = []string{"util", "utils", "common", "types", "manager", "managers", "helper", "helpers", "impl", "misc", "shared", "lib"}

// unfinished are the marks of work left undone. They are put together here so that this file passes.
var unfinished = []string{"TO" + "DO", "FIX" + "ME", "XX" + "X"}
