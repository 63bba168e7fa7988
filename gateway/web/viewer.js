// What of OHIF's configuration is code. The gateway has searched already, without regard to accents, by any of a
// patient's numbers: a second search of the list's text by OHIF would hide what it found.
window.config.customizationService = [
  {
    "workList.columns": {
      $apply: (columns) =>
        columns.map((column) => {
          const searched = ["patient", "mrn", "accession", "description"].includes(column.id);
          return searched ? { ...column, filterFn: () => true } : column;
        }),
    },
  },
];
