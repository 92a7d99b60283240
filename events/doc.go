// Package events is the vocabulary of what happened: events, the changes they
// come in, the batches in which changes are logged, their one binary form, and
// the digest chain over them.
//
// An event is encoded once, when it is decided. From then on its bytes travel:
// [Seal] puts them into a change, [Batch] into a log entry, models copy an
// object's bytes out of them ([Event.Object]), and nobody encodes again. So the
// digest of a stream does not depend on which build looks at it.
//
// All values are immutable once made and safe for concurrent use. Messages that
// they hand out are shared: read them, never change them. Decoders keep
// references into the bytes they are given, which must not change afterwards.
//
// The package refuses what it does not know: an unknown kind of event or a
// feature level above [FeatureLevel] is an [*UnsupportedError], anything else
// that is not exactly a change or batch a [*CorruptError]. It knows no clock, no
// log and no model.
package events
