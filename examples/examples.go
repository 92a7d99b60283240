// Package examples holds documents to apply: the schemas of TPC-H and TPC-DS, a schema for search by
// embedding, and a small cluster with its shard map.
//
// They are the files that the README's tour applies, embedded so that tests and demonstrations need no
// path. The package reads nothing and is safe for concurrent use; what documents mean is for
// `heliosmeta apply` to say.
package examples

import "embed"

// Files holds the documents by their names: tpch.yaml, tpcds.yaml, vectors.yaml and topology.yaml.
//
//go:embed *.yaml
var Files embed.FS
