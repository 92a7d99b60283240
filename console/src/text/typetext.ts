import { create } from "@bufbuild/protobuf";
import { DataTypeSchema, StructFieldSchema, TypeKind, type DataType, type StructField } from "@heliosdb/metadata";

/** Deeper types are not read; the service takes no deeper ones either. */
const MAX_DEPTH = 8;

/** Names that other databases use, as the command line takes them. */
const synonyms: Readonly<Record<string, TypeKind>> = {
  TINYINT: TypeKind.INT8,
  SMALLINT: TypeKind.INT16,
  INT: TypeKind.INT32,
  INTEGER: TypeKind.INT32,
  BIGINT: TypeKind.INT64,
  REAL: TypeKind.FLOAT32,
  DOUBLE: TypeKind.FLOAT64,
  BOOL: TypeKind.BOOLEAN,
  TEXT: TypeKind.STRING,
  VARCHAR: TypeKind.STRING,
  BLOB: TypeKind.BYTES,
  BYTEA: TypeKind.BYTES,
  TIMESTAMPTZ: TypeKind.TIMESTAMP_TZ,
  NUMERIC: TypeKind.DECIMAL,
};

/** Blanks, then a name, a number, a quoted name, or a single sign; empty: the end. */
const TOKEN = /\s*([A-Za-z_$][\w$]*|\d+|"(?:[^"]|"")*"|.|$)/suy;

const IDENTIFIER = /^[A-Za-z_$][\w$]*$/;

/**
 * Reads a type as the command line does: INT64, DECIMAL(15, 2), LIST<STRUCT<a STRING NOT NULL>>.
 * It reads only how a type is written; whether there can be such a type, the service says. Throws a
 * sentence.
 */
export function parseType(text: string): DataType {
  const reader = new Reader(text);
  const type = readType(reader, 1);
  if (reader.token !== "") {
    throw reader.unexpected("the end");
  }
  return type;
}

/** Writes a field's name as it is read, in quotes where it has to be. */
export function quoteName(name: string): string {
  return IDENTIFIER.test(name) ? name : `"${name.replaceAll('"', '""')}"`;
}

/** Reader goes over a text token by token. */
class Reader {
  token = "";
  readonly #text: string;
  #at = 0;

  constructor(text: string) {
    this.#text = text;
    this.next();
  }

  /** Returns the token, and goes on to the next one. */
  next(): string {
    const read = this.token;
    TOKEN.lastIndex = this.#at;
    this.token = TOKEN.exec(this.#text)?.[1] ?? "";
    this.#at = TOKEN.lastIndex;
    return read;
  }

  /** Goes on if the token is this sign or, in any case, word. */
  accept(wanted: string): boolean {
    const is = this.token.toUpperCase() === wanted;
    if (is) {
      this.next();
    }
    return is;
  }

  expect(wanted: string): void {
    if (!this.accept(wanted)) {
      throw this.unexpected(wanted);
    }
  }

  unexpected(wanted: string): Error {
    const before = this.#text.slice(0, this.#at - this.token.length).trim();
    const found = this.token === "" ? "the text ends" : `there is ${this.token}`;
    return new Error(`${before === "" ? "At the beginning" : `Behind ${before}`} ${wanted} is expected, but ${found}.`);
  }
}

function readType(reader: Reader, depth: number): DataType {
  if (depth > MAX_DEPTH) {
    throw new Error(`The type is nested deeper than ${MAX_DEPTH} levels.`);
  }
  const type = create(DataTypeSchema, { kind: readKind(reader) });
  switch (type.kind) {
    case TypeKind.DECIMAL:
      [type.precision = 0, type.scale = 0] = readNumbers(reader, 2);
      break;
    case TypeKind.VECTOR:
      [type.dimensions = 0] = readNumbers(reader, 1);
      break;
    case TypeKind.LIST:
      reader.expect("<");
      type.element = readType(reader, depth + 1);
      reader.expect(">");
      break;
    case TypeKind.MAP:
      reader.expect("<");
      type.key = readType(reader, depth + 1);
      reader.expect(",");
      type.element = readType(reader, depth + 1);
      reader.expect(">");
      break;
    case TypeKind.STRUCT:
      type.fields = readFields(reader, depth + 1);
      break;
    default:
      break;
  }
  return type;
}

function readKind(reader: Reader): TypeKind {
  const name = reader.token.toUpperCase();
  const kind: unknown = synonyms[name] ?? TypeKind[name as keyof typeof TypeKind];
  if (typeof kind !== "number" || kind === TypeKind.UNSPECIFIED || name === "TIMESTAMP_TZ") {
    throw reader.unexpected("a type");
  }
  reader.next();
  if (kind === TypeKind.TIMESTAMP && (reader.token.toUpperCase() === "WITH" || reader.token.toUpperCase() === "WITHOUT")) {
    const zoned = reader.next().toUpperCase() === "WITH";
    reader.expect("TIME");
    reader.expect("ZONE");
    return zoned ? TypeKind.TIMESTAMP_TZ : TypeKind.TIMESTAMP;
  }
  return kind;
}

/** Reads one number in parentheses, or up to so many. */
function readNumbers(reader: Reader, most: number): number[] {
  const numbers: number[] = [];
  reader.expect("(");
  do {
    const number = Number(reader.token);
    if (!/^\d+$/.test(reader.token) || number >= 2 ** 32) {
      throw reader.unexpected("a number below 4294967296");
    }
    numbers.push(number);
    reader.next();
  } while (numbers.length < most && reader.accept(","));
  reader.expect(")");
  return numbers;
}

function readFields(reader: Reader, depth: number): StructField[] {
  const fields: StructField[] = [];
  reader.expect("<");
  do {
    const name = readName(reader);
    const dataType = readType(reader, depth);
    const isRequired = reader.accept("NOT");
    if (isRequired) {
      reader.expect("NULL");
    } else {
      reader.accept("NULL");
    }
    fields.push(create(StructFieldSchema, { name, dataType, nullable: !isRequired }));
  } while (reader.accept(","));
  reader.expect(">");
  return fields;
}

function readName(reader: Reader): string {
  const { token } = reader;
  if (token.length >= 2 && token.startsWith('"')) {
    reader.next();
    return token.slice(1, -1).replaceAll('""', '"');
  }
  if (!IDENTIFIER.test(token)) {
    throw reader.unexpected("the name of a field");
  }
  return reader.next();
}
