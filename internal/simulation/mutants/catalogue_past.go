package main

// pastMutants are bugs of consumers, of reads of the past, of signed heads, and of what members
// fill in and trim.
var pastMutants = []mutant{
	{
		name: "acknowledge-what-is-being-carried-out", about: "a consuming process acknowledges up to what was sent while a batch is out",
		edits: []edit{{"client/consume/machine.go", "	if m.batch != nil || len(m.waiting) > 0 || samePlace(m.done, m.received) {", "	if len(m.waiting) > 0 || samePlace(m.done, m.received) {"}},
	},
	{
		name: "acknowledge-what-waits", about: "a consuming process acknowledges what waits to be carried out",
		edits: []edit{{"client/consume/machine.go", "	m.asked, m.count, m.behind = proto.CloneOf(m.done), 0, false", "	m.asked, m.count, m.behind = proto.CloneOf(m.received), 0, false"}},
	},
	{
		name: "carry-out-backwards", about: "a consuming process begins with the newest of what waits",
		edits: []edit{{"client/consume/machine.go", "	m.waiting, m.bytes = append(m.waiting, d), m.bytes+d.size", "	m.waiting, m.bytes = append([]Delivery{d}, m.waiting...), m.bytes+d.size"}},
	},
	{
		name: "acknowledge-goes-back", about: "an acknowledgement that comes late moves a consumer's position back",
		edits: []edit{{"commands/consumer.go", "	position.SchemaRevision = max(position.SchemaRevision, record.Revision(schemaStream))\n	position.TopologyRevision = max(position.TopologyRevision, record.Revision(topologyStream))\n", ""}},
	},
	{
		name: "acknowledge-ignores-the-epoch", about: "a process that was fenced off still moves a consumer's position",
		edits: []edit{{"commands/consumer.go", "	if epoch != c.Epoch() {", "	if epoch > c.Epoch() {"}},
	},
	{
		name: "open-keeps-the-epoch", about: "who opens a consumer gets the epoch that another process has",
		edits: []edit{{"commands/consumer.go", "opened.Epoch, opened.UpdatedRevision = d.revision, d.revision", "opened.Epoch, opened.UpdatedRevision = max(opened.Epoch, 1), d.revision"}},
	},
	{
		name: "forget-consumers-in-checkpoint", about: "a checkpoint does not carry the consumers",
		edits: []edit{{"projections/service/checkpoint.go", "		if err := write(fold.RecordConsumer, c.raw); err != nil {\n			return err\n		}\n", "		_ = c\n"}},
	},
	{
		name: "as-of-folds-too-far", about: "a model of the past has the change behind its revision too",
		edits: []edit{{"history/models.go", "min(uint64(len(changes)), revision+1-next)", "min(uint64(len(changes)), revision+2-next)"}},
	},
	{
		name: "as-of-from-a-later-model", about: "a model of the past is folded from one that is behind it",
		edits: []edit{{"history/models.go", "if s.Head.Revision <= revision && (near == nil || s.Head.Revision > near.Head.Revision) {", "if near == nil || s.Head.Revision > near.Head.Revision {"}},
	},
	{
		name: "a-time-excludes-its-change", about: "a change that was decided at the very time that is asked for does not count",
		edits: []edit{{"history/time.go", "		case c.Time().After(t):", "		case !c.Time().Before(t):"}},
	},
	{
		name: "any-time-is-that-of-the-base", about: "what was at a time before all that is kept is said to be the model right before that",
		edits: []edit{{"history/time.go", "	case !before.IsZero() && !before.After(t):", "	case !before.IsZero():"}},
	},
	{
		name: "no-time-is-that-of-the-base", about: "what was right before all that is kept is said to be trimmed",
		edits: []edit{{"history/time.go", "	case !before.IsZero() && !before.After(t):", "	case !before.IsZero() && before.Equal(t) && t.IsZero():"}},
	},
	{
		name: "begin-inside-a-gap", about: "a member says that its history begins with what it lacks last",
		edits: []edit{{"history/stored/source.go", "	return max(gap+1, floor.OldestRevision()), floor, err", "	return max(gap, 1, floor.OldestRevision()), floor, err"}},
	},
	{
		name: "keep-the-digest-of-an-earlier-beginning", about: "the digest before a history is that of where it began when it was looked up",
		edits: []edit{{"history/stored/source.go", "	if known == first {", "	if known != 0 {"}},
	},
	{
		name: "index-loses-a-tag", about: "the index does not know which shards a split or merge replaced",
		edits: []edit{{"history/objects/tags.go", "			replaces: before != nil && before.Message() == object,", "			replaces: before != nil && before.Message() == nil,"}},
	},
	{
		name: "index-completes-a-segment-early", about: "a segment of the index is taken for complete before all of it has come",
		edits: []edit{{"history/objects/index.go", "	if p.crowded || len(p.damaged) > 0 || p.first > whole.first || p.next <= whole.last {", "	if p.crowded || len(p.damaged) > 0 || p.first > whole.first {"}},
	},
	{
		name: "index-reads-inside-a-gap", about: "an index goes on where a checkpoint has left a gap",
		edits: []edit{{"history/objects/index.go", "here.first < p.first || p.next < here.first {", "here.first < p.first {"}},
	},
	{
		name: "name-of-the-past-is-the-present-one", about: "a table that was renamed is found by the name that it had before",
		edits: []edit{{"history/objects/log.go", "if name != \"\" && !isNamed(events.TableSubject(table), namespace, name) {", "if name == \"\" && isNamed(events.TableSubject(table), namespace, name) {"}},
	},
	{
		name: "refuse-what-a-checkpoint-has", about: "a model of the past is refused as trimmed although a checkpoint has it",
		edits: []edit{{"history/models.go", "	case stored != nil:\n", "	case stored != nil && stored.Head.Revision == 0:\n"}},
	},
	{
		name: "not-found-where-it-lacks", about: "an object is said not to have existed where the member lacks what it was",
		edits: []edit{{"history/objects/log.go", "	if bounds.First > 1 {\n		return history.Earlier", "	if bounds.First > bounds.Last {\n		return history.Earlier"}},
	},
	{
		name: "sign-without-the-revision", about: "a signature does not cover the revision",
		edits: []edit{{"history/audit/sign.go", "	b = binary.BigEndian.AppendUint64(b, head.Revision)\n", ""}},
	},
	{
		name: "keep-another-head", about: "the head that is kept is not the one that was signed",
		edits: []edit{{"commands/history.go", "			Revision:  in.Revision,\n", "			Revision:  in.Revision + 1,\n"}},
	},
	{
		name: "fill-without-checking", about: "a part of the history that another member gives is filled in without following its digests",
		edits: []edit{{"history/backfill/part.go", "	if digest != gap.Digest || past.Digest != gap.Digest {", "	if past.Digest != gap.Digest {"}},
	},
	{
		name: "fill-in-a-false-digest", about: "what a part says of its own digests is not compared with the chain",
		edits: []edit{{"history/backfill/part.go", "	if digest != gap.Digest || past.Digest != gap.Digest {", "	if digest != gap.Digest {"}},
	},
	{
		name: "forget-the-hole-of-an-install", about: "a member that is given a checkpoint later than at its start does not look what it lacks",
		edits: []edit{{"history/backfill/fill.go", "		f.rest, f.phase = LookTicks, resting\n", "		f.rest, f.phase = 1<<40, resting\n"}},
	},
	{
		name: "damage-takes-all", about: "while some record of a history is known to be damaged, none can be read",
		edits: []edit{{
			"history/stored/history.go",
			"	past, err := h.store.ReadHistory(h.group, from, maxBytes)\n",
			"	past, err := h.store.ReadHistory(h.group, from, maxBytes)\n	if known, _ := h.store.HistoryDamage(h.group); err == nil && len(known) > 0 {\n		err = &raftlog.DamageError{Detail: \"another record\"}\n	}\n",
		}},
	},
	{
		name: "forget-what-is-damaged", about: "what a member has found damaged of its history is not fetched from others",
		edits: []edit{{"history/backfill/gap.go", "d.Last >= floor })", "d.Last+1 < floor })"}},
	},
	{
		name: "trim-what-a-consumer-needs", about: "consumers do not hold the trimming of a history back",
		edits: []edit{
			{"history/retention/retention.go", "		begin = max(kept.Needed, hard)\n", ""},
			{"commands/history.go", "		if !c.PassConsumers {", "		if !c.PassConsumers && consumer.Name() == \"\" {"},
		},
	},
	{
		name: "pass-below-the-hard-limit", about: "consumers are passed although what they need is not over the hard limit",
		edits: []edit{{"history/retention/retention.go", "	hard := h.smallerThan(p.HardBytes)\n", "	hard := h.smallerThan(p.HardBytes / 2)\n"}},
	},
	{
		name: "hold-back-for-who-was-passed", about: "a consumer that was passed holds the trimming of a history back",
		edits: []edit{{"projections/service/service.go", "	return oldest > 0 && c.Revision(s) < oldest-1 && c.Reads(s)\n", "	return oldest > 0 && c.Revision(s) < oldest-1 && c.Reads(s) && c.Epoch() == 1<<63\n"}},
	},
	{
		name: "no-trim-on-a-full-disk", about: "a member whose disk is full up to its reserve has no history trimmed",
		edits: []edit{{"commands/dispatch.go", "	case *metadatav1.TrimHistory, *metadatav1.DeleteConsumerRequest:", "	case *metadatav1.DeleteConsumerRequest:"}},
	},
	{
		name: "no-base-from-the-reserve", about: "the model right before a floor is not archived on a disk that is full up to its reserve",
		edits: []edit{{"replica/archive.go", "	w, err := s.CreateBase(d.Group, d)", "	w, err := s.CreateArchived(d.Group, d)"}},
	},
	{
		name: "trim-what-the-base-needs", about: "what leads to the model right before a floor is deleted before that model is archived",
		edits: []edit{{"history/retention/base.go", "	return nearest + 1, err\n", "	_ = nearest\n	return floor, err\n"}},
	},
	{
		name: "drop-the-base", about: "an archived checkpoint that was made for a floor may be the one that is dropped for the others",
		edits: []edit{{"raftlog/archive.go", "			if kept[i].Index == d.Index {", "			if kept[i].Index == 0 {"}},
	},
	{
		name: "take-any-base", about: "the model right before a floor that another member gives is not held against what this one has",
		edits: []edit{{
			"history/replay.go",
			"	if err != nil {\n		return err\n	}\n	if folded.Head != later.Head || folded.Hash() != later.Hash() {",
			"	if err != nil {\n		return nil\n	}\n	if folded.Head != later.Head {",
		}},
	},
	{
		name: "read-below-the-floor", about: "a model from below the floor is given where a member still has it",
		edits: []edit{{"history/models.go", "	case revision > 0 && revision+1 < bounds.Floor:", "	case revision > 0 && revision+1 < bounds.Floor && bounds.Floor == bounds.Last:"}},
	},
	{
		name: "floor-with-the-digest-behind", about: "a history's floor has the digest behind its first record instead of the one before",
		edits: []edit{{"history/retention/retention.go", "PreviousDigest: past.Previous[:]", "PreviousDigest: past.Digest[:]"}},
	},
}
