package main

// cacheMutants are bugs of the Go client's cache.
var cacheMutants = []mutant{
	{
		name: "cache-goes-back", about: "a cache takes over a snapshot that is older than what it shows",
		edits: []edit{
			{"client/follow/mirror.go", "		case !one.loading() || !ready || newest < shown:\n", "		case !one.loading() || !ready:\n"},
			{"client/follow/mirror.go", "		case newest > shown || one.suspected():\n", "		case newest != shown || one.suspected():\n"},
		},
	},
	{
		name: "cache-forgets-own-writes", about: "a cache counts as showing what its client wrote when it lacks the last write",
		edits: []edit{{"client/follow/seen.go", "		if RevisionOf(at, s) < l.revisions[i].Load() {\n			return false", "		if RevisionOf(at, s)+1 < l.revisions[i].Load() {\n			return false"}},
	},
	{
		name: "fresh-before-it-is-shown", about: "a cache counts as fresh as its last question, though it does not show what the answer says",
		edits: []edit{{"client/follow/freshness.go", "		case !Covers(p, q.newest):\n", "		case p == nil:\n"}},
	},
	{
		name: "fresh-by-a-local-read", about: "a cache asks how far any member is, instead of how far the streams are",
		edits: []edit{{"client/follow/freshness.go", "metadatav1.Consistency_CONSISTENCY_LINEARIZABLE", "metadatav1.Consistency_CONSISTENCY_LOCAL"}},
	},
}
