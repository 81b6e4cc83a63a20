import { isKeyType, KEY_TYPES } from './canonical-key.ts';
import type { Flaw } from './flaw.ts';
import type { TableShape } from './resource.ts';
import { PUBLICATION, type RowHolder, type TableFacts } from './table-facts.ts';

/** What a table is expected to be that nothing announces at all. */
export const PUBLISHED = `the table in the publication ${PUBLICATION}`;

/**
 * Whether every change of a table's rows is sure to reach us under the key we cache them by. Each check stands for
 * rows that would otherwise be stale for ever without anybody noticing.
 */
export function checkTable(shape: TableShape, facts: TableFacts): Flaw[] {
  const other = otherThanTable(facts);
  if (other) return [other];
  return [
    ...checkName(shape),
    ...checkStorage(facts),
    ...checkInheritance(facts),
    ...checkKey(shape, facts),
    ...checkIdentity(facts),
    ...facts.partitions.flatMap(partition => checkPartition(partition, facts)),
    ...checkRowSecurity(facts),
    ...checkPublication(facts),
  ];
}

/** Relations whose rows are another one's: nothing else needs to be said of them. */
function otherThanTable(facts: TableFacts): Flaw | null {
  if (facts.kind !== 'table' && facts.kind !== 'partitioned table') {
    const why = facts.kind === 'foreign table' ? 'are kept elsewhere' : 'come from other tables';
    return {
      expected: 'an ordinary or partitioned table',
      came: `a ${facts.kind}, whose rows ${why}: their changes are not announced under its name`,
      mend: 'remove the resource, or declare the table that holds the rows',
    };
  }
  if (facts.partitionOf === null) return null;
  return {
    expected: 'a table by itself',
    came: `a partition of ${facts.partitionOf}, under whose name its changes are announced`,
    mend: `declare ${facts.partitionOf} instead`,
  };
}

/** Debezium takes the quote for one of SQL's: changes of such a table come under another one's name, or not at all. */
function checkName({ schema, name }: TableShape): Flaw[] {
  const quoted = [schema, name].find(part => part.startsWith('"'));
  if (quoted === undefined) return [];
  return [
    {
      expected: 'a name that does not begin with a quotation mark',
      came: `${quoted}, of which Debezium loses the changes`,
      mend: 'rename it, or remove the resource',
    },
  ];
}

function checkStorage(holder: RowHolder): Flaw[] {
  if (holder.storage === 'permanent') return [];
  return [
    {
      expected: 'a permanent table',
      came: `${holder.name}, which is ${holder.storage}: its changes are not in the write-ahead log`,
      mend:
        holder.storage === 'unlogged'
          ? `alter table ${holder.name} set logged;`
          : 'remove the resource, or make the table an ordinary one',
    },
  ];
}

function checkInheritance({ children, name }: TableFacts): Flaw[] {
  if (children.length === 0) return [];
  return [
    {
      expected: 'a table that no other inherits from',
      came: `${list(children)}, whose rows it shows and whose changes come under their own names`,
      mend: children.map(child => `alter table ${child} no inherit ${name};`).join(' '),
    },
  ];
}

function checkKey(shape: TableShape, facts: TableFacts): Flaw[] {
  const target = facts.name;
  if (shape.key.length === 0) {
    return [{ expected: 'a primary key', came: 'none', mend: `alter table ${target} add primary key (…);` }];
  }
  const flaws: Flaw[] = shape.key
    .filter(column => !isKeyType(column))
    .map(column => ({
      expected: `key columns whose equal values are printed alike: ${KEY_TYPES}`,
      came: `${column.name} ${column.type}${column.nondeterministic ? ' under a nondeterministic collation' : ''}`,
      mend: 'remove the resource, or give the table a primary key of such a type',
    }));
  if (facts.computedKeyColumns.length > 0) {
    flaws.push({
      expected: 'a primary key of stored columns',
      came: `generated ${list(facts.computedKeyColumns)}, which the replication stream leaves out`,
      mend: 'remove the resource, or give the table a primary key of ordinary columns',
    });
  }
  return flaws;
}

function checkIdentity(facts: TableFacts): Flaw[] {
  const target = facts.name;
  const mend = `alter table ${target} replica identity default;`;
  if (facts.replicaIdentity === 'nothing') {
    return [
      {
        expected: 'the primary key as replica identity',
        came: 'replica identity nothing: deletes name no row',
        mend,
      },
    ];
  }
  if (facts.identityIndex !== null) {
    return [
      {
        expected: 'the primary key as replica identity',
        came: `the index ${facts.identityIndex}: deletes name the row by that instead`,
        mend,
      },
    ];
  }
  if (facts.deferrableKey && facts.replicaIdentity === 'default') {
    return [
      {
        expected: 'a primary key that can be the replica identity',
        came: 'a deferrable one, with which updates and deletes of a published table are refused',
        mend: `alter table ${target} replica identity full;`,
      },
    ];
  }
  return [];
}

/**
 * Rows of a partitioned table live in its leaves, and how they are logged is the leaf's affair. (Foreign partitions
 * cannot be: a table with a primary key takes none.)
 */
function checkPartition(leaf: RowHolder, root: TableFacts): Flaw[] {
  const flaws = checkStorage(leaf);
  // The stream prints old rows as the root's identity says, but what they hold is what the leaf logged.
  const wanted = root.replicaIdentity === 'full' ? 'full' : 'default';
  const logged =
    leaf.replicaIdentity === 'index' && leaf.identityIndex === null ? 'default' : leaf.replicaIdentity;
  if (logged !== wanted) {
    flaws.push({
      expected: `replica identity ${wanted} in every partition`,
      came: `${leaf.name} with ${leaf.identityIndex === null ? leaf.replicaIdentity : `the index ${leaf.identityIndex}`}`,
      mend: `alter table ${leaf.name} replica identity ${wanted};`,
    });
  }
  return flaws;
}

function checkRowSecurity(facts: TableFacts): Flaw[] {
  if (!facts.rowSecurity) return [];
  return [
    {
      expected: 'rows that are the same for everybody',
      came: 'row-level security: what this role may see would be kept and shown to others',
      mend: 'connect as a role with BYPASSRLS (the resource then shows every row), or remove the resource',
    },
  ];
}

function checkPublication(facts: TableFacts): Flaw[] {
  const { published } = facts;
  const target = facts.name;
  if (published === null) {
    const mend = facts.publicationExists
      ? `alter publication ${PUBLICATION} add table ${target};`
      : `create publication ${PUBLICATION} for table ${target} with (publish_via_partition_root = true);`;
    return [{ expected: PUBLISHED, came: 'it is not', mend }];
  }
  const flaws: Flaw[] = [];
  if (published.missing.length > 0) {
    flaws.push({
      expected: `all operations in the publication ${PUBLICATION}`,
      came: `no ${list(published.missing)}`,
      mend: `alter publication ${PUBLICATION} set (publish = 'insert, update, delete, truncate');`,
    });
  }
  if (published.hasRowFilter || published.hasColumnList) {
    const limits = [
      published.hasRowFilter && 'a row filter',
      published.hasColumnList && 'a column list',
    ].filter(limit => limit !== false);
    flaws.push({
      expected: `all rows and columns in the publication ${PUBLICATION}`,
      came: limits.join(' and '),
      mend: `alter publication ${PUBLICATION} drop table ${target}; alter publication ${PUBLICATION} add table ${target};`,
    });
  }
  if (facts.kind === 'partitioned table' && !published.viaRoot) {
    flaws.push({
      expected: 'changes of partitions under the name of the table',
      came: `publish_via_partition_root = false in the publication ${PUBLICATION}`,
      mend: `alter publication ${PUBLICATION} set (publish_via_partition_root = true);`,
    });
  }
  return flaws;
}

const list = (names: readonly string[]): string => names.join(', ');
