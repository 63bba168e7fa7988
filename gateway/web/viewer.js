// What of OHIF's configuration is code. The gateway has searched already, without regard to accents, by any of a
// patient's numbers: a second search of the list's text by OHIF would hide what it found. The numbers people search
// by are shown before the counts.
window.config.customizationService = [
  {
    "workList.columns": {
      $apply: (columns) =>
        columns.map((column) => {
          const searched = ["patient", "mrn", "accession", "description"].includes(column.id);
          const priority = { mrn: 95, accession: 90 }[column.id] ?? column.meta?.priority;
          return {
            ...column,
            ...(searched ? { filterFn: () => true } : {}),
            ...(column.meta ? { meta: { ...column.meta, priority } } : {}),
          };
        }),
    },
  },
];
